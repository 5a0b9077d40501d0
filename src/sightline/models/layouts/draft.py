"""What a layout makes of a file: every tensor under its name here, or a reason why it has none.

Left out: anything about the network that the tensors go into.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Translation:
    """A file of weights under the names of the networks here."""

    layout: str  # what the file is, in words
    kind: str  # the network it belongs to: "vit", "resnet", "vgg", "alexnet", "non_local" or "segmenter"
    state: dict[str, Tensor]  # by the name here
    sources: dict[str, tuple[str, ...]]  # name here -> names in the file
    converted: dict[str, str]  # name here -> what was done to its numbers
    left: dict[str, str]  # name in the file -> why it has no place here
    needs: dict[str, Any]  # constructor argument -> value of the file's own code; a tuple: one of; a dict: by pairwise
    notes: tuple[str, ...] = ()
    resize: str = ""  # how the file's own code resizes a table of positions, see `tables.RULES`
    prefix_rows: tuple[int, ...] = ()  # for how many prefix tokens the table of positions may have rows
    grid: tuple[int, int] | None = None  # of the table of positions, where the settings beside the file say it


class Draft:
    """A translation in the making: what is neither put nor left keeps its name, and is found out later."""

    def __init__(self, file: Mapping[str, Tensor]) -> None:
        self.file = file
        self.state: dict[str, Tensor] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.converted: dict[str, str] = {}
        self.left: dict[str, str] = {}

    def put(self, here: str, tensor: Tensor, *sources: str, done: str = "") -> None:
        """One tensor under its name here; `done` says what its numbers or its shape went through."""
        if here in self.state:
            raise ValueError(
                f"the file holds {here} twice, as {self.sources[here][0]} and as {sources[0]}: name one part of it by"
                " prefix="
            )
        self.state[here], self.sources[here] = tensor, sources
        if done:
            self.converted[here] = done

    def move(self, name: str, here: str) -> None:
        """A tensor of the file, as it is, under another name."""
        self.put(here, self.file[name], name)

    def leave(self, name: str, why: str) -> None:
        """A tensor of the file that has no place here, and why that is no loss."""
        self.left[name] = why

    def finish(
        self,
        layout: str,
        kind: str,
        *,
        needs: dict[str, Any] | None = None,
        notes: tuple[str, ...] = (),
        resize: str = "",
        prefix_rows: tuple[int, ...] = (),
        grid: tuple[int, int] | None = None,
    ) -> Translation:
        """The translation; every tensor of the file is in it exactly once."""
        used = {name for names in self.sources.values() for name in names} | set(self.left)
        for name in self.file:
            if name not in used:
                self.move(name, name)
        return Translation(
            layout, kind, self.state, self.sources, self.converted, self.left, needs or {}, notes, resize,
            prefix_rows, grid,
        )  # fmt: skip
