"""How a convolution's field grows: every layer adds (kernel - 1) x dilation x the product of all earlier strides.

The formula (Araujo et al., 2019, https://distill.pub/2019/computing-receptive-fields/, equations 1 to 4, for one path)
stands beside the answer of the engine (`seeing/receptive`), which knows nothing of it and watches a network of these
layers run. "Every layer adds K - 1" is the case of stride 1 and dilation 1.

Left out: branches, which have no formula but the engine.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from sightline.seeing.receptive import receptive_fields


@dataclass(frozen=True)
class Step:
    """One layer of a stack: a convolution, or a max pooling."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    pools: bool = False

    @property
    def words(self) -> str:
        """As one says it: `3`, `3 / 2` with stride 2, `3 d2` with dilation 2, `pool 2 / 2`."""
        stride = f" / {self.stride}" if self.stride > 1 else ""
        dilation = f" d{self.dilation}" if self.dilation > 1 else ""
        return f"{'pool ' if self.pools else ''}{self.kernel}{stride}{dilation}"


@dataclass(frozen=True)
class Field:
    """Along one axis neuron u sees the pixels from `stride u - padding` to `stride u - padding + size - 1`."""

    size: int
    stride: int
    padding: int


STACKS: dict[str, tuple[Step, ...]] = {
    "one layer": (Step(3),),
    "five layers": (Step(3),) * 5,
    "three layers of 7": (Step(7),) * 3,
    "a stride of 2 first": (Step(3, 2), *(Step(3),) * 4),
    "a stride of 2 last": (*(Step(3),) * 4, Step(3, 2)),
    "pooled": (Step(3), Step(3), Step(2, 2, pools=True), Step(3), Step(3)),
    "dilated": tuple(Step(3, dilation=2**place) for place in range(4)),
    "dilated by 4 alone": (Step(3, dilation=4),) * 4,
    "AlexNet to conv5": (
        *(Step(11, 4, padding=2), Step(3, 2, pools=True), Step(5, padding=2), Step(3, 2, pools=True)),
        *(Step(3, padding=1),) * 3,
    ),
    "the stem of a ResNet": (Step(7, 2, padding=3), Step(3, 2, padding=1, pools=True)),
}


def additions(steps: Sequence[Step]) -> list[int]:
    """What each layer adds to the size: (kernel - 1) x dilation x the product of the strides before it."""
    added, jump = [], 1
    for step in steps:
        added.append((step.kernel - 1) * step.dilation * jump)
        jump *= step.stride
    return added


def by_formula(steps: Sequence[Step]) -> Field:
    """Size, stride and padding of the last layer's neurons, by the formula."""
    jump, padding = 1, 0
    for step in steps:
        padding += step.padding * jump
        jump *= step.stride
    return Field(1 + sum(additions(steps)), jump, padding)


def stack(steps: Sequence[Step], *, channels: int = 1, image_channels: int = 3) -> nn.Sequential:
    """A network of these layers."""
    layers: list[nn.Module] = []
    inputs = image_channels
    for step in steps:
        if step.pools:
            layers.append(nn.MaxPool2d(step.kernel, step.stride, step.padding, step.dilation))
        else:
            layers.append(nn.Conv2d(inputs, channels, step.kernel, step.stride, step.padding, step.dilation))
            inputs = channels
    return nn.Sequential(*layers)


def by_engine(steps: Sequence[Step]) -> tuple[Field, int]:
    """The same by watching a network of these layers run, and how many pixels its central neuron really reads."""
    formula = by_formula(steps)
    side = formula.size + 4 * formula.stride  # a few neurons side by side, the central one clear of the border
    fields = receptive_fields(stack(steps), (side, side))
    last = fields.layer("")
    if last.size[0] != last.size[1] or last.stride[0] is None:
        raise RuntimeError(f"a stack that is alike along both axes was found to differ: {last}")
    centre = (last.grid[0] // 2, last.grid[1] // 2)
    return Field(last.size[0], round(last.stride[0]), round(last.padding[0])), int(fields.set("", centre).sum())


def rows() -> list[dict[str, Any]]:
    """Every stack by the formula and by the engine.

    Raises:
        RuntimeError: they differ; no page may say that they agree.
    """
    found = []
    for name, steps in STACKS.items():
        formula, (engine, pixels) = by_formula(steps), by_engine(steps)
        if formula != engine:
            raise RuntimeError(f"{name}: the formula says {formula}, the engine {engine}")
        found.append(
            {
                "stack": name,
                "layers": [step.words for step in steps],
                "adds": additions(steps),
                "formula": asdict(formula),
                "engine": asdict(engine),
                "pixels": pixels,
                "by_kernels_alone": 1 + sum(step.kernel - 1 for step in steps),
            }
        )
    return found


def seven_to_three() -> dict[str, Any]:
    """A 7 x 7 input becomes 3 x 3 (kernel 3, stride 2, no padding): the box that every output sees, by the engine.

    Boxes are top, bottom, left and right, inclusive, row by row of the output; `read` is how many outputs read a pixel.
    """
    side, steps = 7, (Step(3, 2),)
    fields = receptive_fields(stack(steps), (side, side))
    grid = fields.layer("").grid
    boxes, read = [], [[0] * side for _ in range(side)]
    for y in range(grid[0]):
        for x in range(grid[1]):
            box = fields.hull("", (y, x))
            assert box is not None
            boxes.append(list(box))
            for v, u in fields.set("", (y, x)).nonzero().tolist():
                read[v][u] += 1
    return {"side": side, "kernel": 3, "stride": 2, "grid": list(grid), "boxes": boxes, "read": read}
