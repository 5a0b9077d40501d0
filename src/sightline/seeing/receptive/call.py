"""One operation as a rule sees it: its arguments by name, defaults filled in, and what is known of its inputs.

Left out: the operation's result as values. Rules read values only through `constant_zeros` and `values`, so that a
structural answer cannot read one by accident.
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
        live: list[Tensor],
        nodes: WeakTensorKeyDictionary,
    ) -> None:
        self.name: str = function._schema.name
        self.function = function
        self.args, self.kwargs = args, kwargs
        self.mutates: bool = function._schema.is_mutable
        self.values = values  # True: the answer may read values (value-aware)
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
        """Which elements of the first arguments are constant zeros, before an operation in place overwrites them."""
        if not (self.values and self.mutates):
            return None
        return {id(t): self.constant_zeros(t) for t in self.args if isinstance(t, Tensor)}

    def constant_zeros(self, tensor: Any) -> Bool[Tensor, "..."] | None:
        """Where a tensor is exactly zero whatever the image is; None where nowhere, and in a structural answer."""
        if not self.values or not isinstance(tensor, Tensor) or tensor.is_meta:
            return None
        if self.before is not None and id(tensor) in self.before:
            return self.before[id(tensor)]
        node = self.node(tensor)
        zeros = tensor.detach() == 0
        if node is not None:
            zeros = zeros & node.empty()
        return zeros if bool(zeros.any()) else None

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


def known(tensor: Tensor) -> bool:
    """Whether the values of a constant can be read: not on the meta device and not fake."""
    return not tensor.is_meta and type(tensor) in (torch.Tensor, torch.nn.Parameter)
