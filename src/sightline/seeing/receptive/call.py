"""One operation as a rule sees it: its arguments by name, defaults filled in, and what is known of its inputs.

Rules read values only through `zeros` and `masked`, so that a structural answer cannot read one by accident: it knows
what the code made (masks, factors, indices), not the weights, which are drawn anew, nor the image, which has no values.

Left out: the operation's result as values.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from sightline.seeing.receptive.nodes import Node
from sightline.seeing.receptive.relations import Relation, Same

Source = tuple[Tensor, Relation]
Rule = Callable[["Call"], Sequence[Sequence[Source]] | None]


class Call:
    """An operation that was performed on something that depends on the image.

    A rule takes a call and returns, for each output, the inputs that it depends on, each with its relation; or None,
    and the operation counts as dense. `call["stride"]` is the argument of that name in PyTorch's schema, defaults
    included.
    """

    def __init__(
        self,
        function: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        values: bool,
        constants: bool,
        live: list[Tensor],
        nodes: WeakTensorKeyDictionary,
    ) -> None:
        self.name: str = function._schema.name
        self.function = function
        self.args, self.kwargs = args, kwargs
        self.mutates: bool = function._schema.is_mutable
        self.values = values  # whether the answer may read what depends on the image (value-aware)
        self.constants = constants  # whether it may read what does not
        self.moves = False  # a rule sets it: elements are only moved, and what is known of constants stays known
        self.live = live  # the inputs that depend on the image
        self.outputs: list[Tensor] = []
        self.dense: frozenset[str] = frozenset()  # operations that a rule itself could not tell apart
        self.before: Any = None
        self._nodes = nodes
        names, defaults = _schema(function)
        self.arguments = defaults | dict(zip(names, args, strict=False)) | kwargs

    @property
    def short(self) -> str:
        """The operation's name as a reader knows it: `aten::relu_` is "relu_"."""
        return self.name.removeprefix("aten::")

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An argument that not every overload has."""
        return self.arguments.get(name, otherwise)

    def node(self, tensor: Any) -> Node | None:
        """What is known of a tensor, None where it does not depend on the image."""
        return self._nodes.get(tensor) if isinstance(tensor, Tensor) else None

    def is_live(self, tensor: Any) -> bool:
        """Whether a tensor depends on the image."""
        return isinstance(tensor, Tensor) and tensor in self._nodes

    def prepare(self) -> Any:
        """What is known of the arguments, before an operation in place overwrites them."""
        if not (self.values and self.mutates):
            return None
        return {id(t): (self.zeros(t), self.masked(t)) for t in self.args if isinstance(t, Tensor)}

    def zeros(self, tensor: Any) -> Bool[Tensor, "..."] | None:
        """Where a tensor is zero whatever the image is; None where nowhere, or where it cannot be known."""
        if isinstance(tensor, Tensor) and self.before is not None and id(tensor) in self.before:
            found: Bool[Tensor, "..."] | None = self.before[id(tensor)][0]
            return found
        node = self.node(tensor)
        zeros = node.zero() if node is not None else None
        if isinstance(tensor, Tensor) and self._readable(tensor):
            here = tensor.detach().cpu() == 0
            zeros = here if node is None else node.zero() | (here & node.empty())
        return zeros if zeros is not None and bool(zeros.any()) else None

    def masked(self, tensor: Any) -> Bool[Tensor, "..."] | None:
        """Where a score is masked: -inf, or the lowest number there is; None where nowhere.

        Value-aware, of scores that depend on the image too. A line along the last axis that holds nothing but lowest
        numbers masks nothing: all of it counts alike.
        """
        if isinstance(tensor, Tensor) and self.before is not None and id(tensor) in self.before:
            found: Bool[Tensor, "..."] | None = self.before[id(tensor)][1]
            return found
        node = self.node(tensor)
        masked = node.masked() if node is not None else None
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and self._readable(tensor):
            here = lowest(tensor.detach().cpu())
            masked = here if node is None else node.masked() | here
        return masked if masked is not None and bool(masked.any()) else None

    def _readable(self, tensor: Tensor) -> bool:
        return (self.values if self.is_live(tensor) else self.constants) and known(tensor)

    def every(self, *sources: Source) -> list[list[Source]]:
        """These sources for every output."""
        return [list(sources) for _ in self.outputs]

    def same(self, tensor: Tensor) -> Relation:
        """Element by element between an input and the first output, with broadcasting."""
        return (Same(tuple(tensor.shape), tuple(self.outputs[0].shape)),)


@lru_cache(maxsize=1024)
def _schema(function: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    arguments = function._schema.arguments
    names = tuple(a.name for a in arguments)
    return names, {a.name: a.default_value for a in arguments if a.has_default_value()} | {
        a.name: None for a in arguments if not a.has_default_value()
    }


def lowest(scores: Tensor) -> Bool[Tensor, "..."]:
    """Where a score is so low that no other can be: a mask."""
    return scores <= torch.finfo(scores.dtype).min / 2


def known(tensor: Tensor) -> bool:
    """Whether the values of a constant can be read: not on the meta device and not fake."""
    return not tensor.is_meta and type(tensor) in (torch.Tensor, torch.nn.Parameter)
