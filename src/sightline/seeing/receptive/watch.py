"""Watching a network run: every operation that PyTorch performs on something that depends on the image is looked up in
the table of rules and remembered as a node. No list of layer classes, no tracing of Python code: whatever calls
PyTorch is seen, functional calls and custom modules included.

*Structural*: what depends on the image has a shape and no values (fake tensors), so a large network costs no arithmetic
and the answer holds for any weights. What does not depend on the image is computed, so positions, masks and indices
made by the code are known. *Value-aware*: everything is computed, and rules may read values.

Left out: operations that PyTorch cannot see into (compiled or scripted code that runs as one operation); they count as
dense and are named.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakTensorKeyDictionary

from sightline.seeing.receptive.call import Call, Rule, Source
from sightline.seeing.receptive.nodes import Node, derived
from sightline.seeing.receptive.relations import Keep, Pick, Whole

READS = {  # operations whose result steers Python: only the branch that ran is seen
    "aten::_local_scalar_dense": "reads a value of the image",
    "aten::is_nonzero": "asks a value of the image",
    "aten::equal": "compares values of the image",
    "aten::nonzero": "finds where the image is not zero",
    "aten::masked_select": "selects by values of the image",
}
FRESH = {  # the result has the argument's shape and none of its values
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "zero_", "bernoulli_", "uniform_"),
    *("normal_", "random_", "exponential_", "_assert_async", "_assert_scalar", "_assert_tensor_metadata"),
}


class Watcher(TorchDispatchMode):
    """Keeps a node for every tensor that depends on the image; enter it, run the network, ask `node(tensor)`."""

    def __init__(
        self,
        rule_of: Callable[[Call], Rule | None],
        *,
        values: bool,
        constants: bool,
        fake: FakeTensorMode | None,
    ) -> None:
        super().__init__()
        self.rule_of = rule_of
        self.values, self.constants = values, constants
        self.fake = fake
        self.warnings: dict[str, None] = {}
        self.layer: list[str] = []  # the modules that are running, innermost last
        self._nodes = WeakTensorKeyDictionary()
        self._memory: dict[int, list[weakref.ref[Tensor]]] = {}
        self._count = 0

    def node(self, tensor: Tensor) -> Node | None:
        """What is known of a tensor, or None where it does not depend on the image."""
        return self._nodes.get(tensor)

    def start(self, tensor: Tensor, node: Node) -> None:
        """This tensor is the image."""
        self._nodes[tensor] = node
        self._share(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":  # asks for a device, a layout: nothing is computed
            return func(*args, **kwargs)
        tensors = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
        live = [t for t in tensors if t in self._nodes]
        if not live:
            out = func(*args, **kwargs)
            self._remember_views(func, tensors, out)
            return out
        call = Call(func, args, kwargs, self.values, self.constants, live, self._nodes)
        if call.name in READS:
            where = f" in {self.layer[-1]}" if self.layer and self.layer[-1] else ""
            self.warnings[
                f"{call.short}{where} {READS[call.name]}: only the branch that ran for this image is analysed"
            ] = None
        before = call.prepare()  # what a rule must read before an operation in place overwrites it
        with self.fake if self.fake is not None else nullcontext():
            out = func(*args, **kwargs)
        if call.mutates:
            out = self._same_objects(func, args, kwargs, out)
        outputs = [o for o in tree_flatten(out)[0] if isinstance(o, Tensor)]
        if outputs and call.short not in FRESH:
            self._apply(call, outputs, before)
        elif call.short in FRESH and call.mutates:
            self._write(outputs[0], [], frozenset(), moves=False)
        self._remember_views(func, tensors, out)
        return out

    def _apply(self, call: Call, outputs: list[Tensor], before: Any) -> None:
        """Look the rule up and give every output its node."""
        rule = self.rule_of(call)
        call.outputs = outputs
        call.before = before
        found: Sequence[Sequence[Source]] | None = rule(call) if rule is not None else None
        dense: frozenset[str] = frozenset()
        if found is None:
            dense = frozenset([call.short])
            found = [[(t, (Whole(t.dim(), o.dim()),)) for t in call.live] for o in outputs]
        for out, sources in zip(outputs, found, strict=False):
            nodes = [(self._nodes[t], relation) for t, relation in sources if t in self._nodes]
            if call.mutates:
                self._write(out, nodes, dense | call.dense, moves=call.moves)
            else:
                self._put(out, nodes, dense | call.dense, moves=call.moves)

    def _put(self, tensor: Tensor, sources: Sequence[tuple[Node, Any]], dense: frozenset[str], *, moves: bool) -> Node:
        self._count += 1
        node = derived(self._count, tensor.shape, sources, dense, moves=moves)
        self._nodes[tensor] = node
        return node

    def _write(
        self, tensor: Tensor, sources: Sequence[tuple[Node, Any]], dense: frozenset[str], *, moves: bool
    ) -> None:
        """A new version of a tensor written in place, and of every other view of the same memory."""
        new = self._put(tensor, sources, dense, moves=moves)
        others = [t for t in self._sharing(tensor) if t is not tensor]
        if not others:
            return
        place = torch.full((_extent([tensor, *others]),), -1)
        _view(place, tensor).copy_(torch.arange(tensor.numel()).reshape(tensor.shape))
        for other in others:
            index = _view(place, other)
            if not bool((index >= 0).any()):
                continue
            old = self._nodes.get(other)
            kept = [(old, (Keep(index < 0),))] if old is not None else []
            self._put(other, [*kept, (new, (Pick(index.clone(), tuple(tensor.shape)),))], frozenset(), moves=True)

    def _same_objects(self, func: Any, args: Any, kwargs: Any, out: Any) -> Any:
        """An operation in place returns the tensor it was given, also where a fake twin stood in for it."""
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        written = [
            given[a.name]
            for a in func._schema.arguments
            if a.alias_info is not None and a.alias_info.is_write and isinstance(given.get(a.name), Tensor)
        ]
        if isinstance(out, Tensor) and written:
            return written[0]
        return tuple(written) if isinstance(out, tuple) and len(out) == len(written) else out

    def _remember_views(self, func: Any, tensors: list[Tensor], out: Any) -> None:
        for t in tree_flatten(out)[0]:
            if isinstance(t, Tensor):
                self._share(t)
        if tensors and any(a.alias_info is not None for a in func._schema.arguments):
            self._share(tensors[0])

    def _share(self, tensor: Tensor) -> None:
        known = self._memory.setdefault(_storage(tensor), [])
        if not any(r() is tensor for r in known):
            known.append(weakref.ref(tensor))

    def _sharing(self, tensor: Tensor) -> list[Tensor]:
        alive = [(r, r()) for r in self._memory.get(_storage(tensor), [])]
        self._memory[_storage(tensor)] = [r for r, t in alive if t is not None]
        return [t for _, t in alive if t is not None]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _extent(tensors: Sequence[Tensor]) -> int:
    """How many elements of memory the views reach over."""
    return 1 + max(
        int(t.storage_offset()) + sum((s - 1) * d for s, d in zip(t.shape, t.stride(), strict=True))
        for t in tensors
        if t.numel()
    )


def _view(memory: Tensor, like: Tensor) -> Tensor:
    return memory.as_strided(like.shape, like.stride(), like.storage_offset())
