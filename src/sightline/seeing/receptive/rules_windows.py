"""Rules of operations that look through windows: convolutions, pooling, resizing, sampling at given positions.

Along one axis each output looks at some inputs; axes are independent of each other. So a rule is a list of windows, one
for each axis, and what happens to the channels. Araujo, Norris & Sim, "Computing receptive fields of convolutional
neural networks", Distill 2019, has the arithmetic in closed form; here the windows are simply listed.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sightline.seeing.receptive.call import Call, Rule, Source, known
from sightline.seeing.receptive.relations import Every, Relation, Reshape, Same, Step, Taps, Windows
from sightline.seeing.receptive.tables import NO_SOURCE


def convolution(call: Call) -> list[list[Source]]:
    """Any convolution, transposed, grouped and dilated ones too; a weight that depends on the image counts as well."""
    x, weight, bias, groups = call["input"], call["weight"], call["bias"], call["groups"]
    out = call.outputs[0]
    axes = weight.dim() - 2
    stride, padding, dilation = (_each(call[n], axes) for n in ("stride", "padding", "dilation"))
    windows = []
    for i in range(axes):
        taps = torch.arange(weight.shape[2 + i]) * dilation[i]
        outputs = torch.arange(out.shape[2 + i])[:, None]
        if call["transposed"]:
            place = outputs + padding[i] - taps
            index = torch.where(place % stride[i] == 0, place.div(stride[i], rounding_mode="floor"), NO_SOURCE)
        else:
            index = outputs * stride[i] - padding[i] + taps
        windows.append(Windows(i - axes, index, x.shape[2 + i]))
    channels = _channels(-axes - 1, x.shape[1], out.shape[1], groups)
    relation: Relation = (*channels, *windows)
    zeros = call.zeros(weight)
    if zeros is not None:
        there = ~zeros
        if call["transposed"]:
            there = there.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
        relation = (Taps(there, groups, tuple(windows), channels),)
    sources: list[Source] = [(x, relation)]
    if call.is_live(weight):
        first = 1 if call["transposed"] and groups == 1 else 0
        rest = tuple(a - weight.dim() for a in range(weight.dim()) if a != first)
        if call["transposed"] and groups > 1:
            return []  # no rule: the caller takes it as dense
        column = (out.shape[1], *[1] * axes)
        flat = tuple(s if a == first else 1 for a, s in enumerate(weight.shape))
        sources.append((weight, (Every(rest), Reshape(flat, column), Same(column, tuple(out.shape)))))
    if call.is_live(bias):
        column = (out.shape[1], *[1] * axes)
        sources.append((bias, (Reshape(tuple(bias.shape), column), Same(column, tuple(out.shape)))))
    return [sources]


def _channels(axis: int, inputs: int, outputs: int, groups: int) -> tuple[Step, ...]:
    """What a convolution does to the channels: all with all, all within a group, or each by itself."""
    if groups == 1:
        return (Every((axis,)),)
    if groups == inputs == outputs:
        return ()
    width = inputs // groups
    group = torch.arange(outputs) // (outputs // groups)
    return (Windows(axis, group[:, None] * width + torch.arange(width), inputs),)


def pooling(call: Call) -> list[list[Source]]:
    """Maximum and average pooling over windows, with padding, dilation and a rounded-up size."""
    x, out = call["self"], call.outputs[0]
    axes = len(call["kernel_size"]) if len(call["kernel_size"]) > 1 else int(call.short.split("pool")[1][0])
    kernel = _each(call["kernel_size"], axes)
    stride = _each(call["stride"] or kernel, axes)
    padding, dilation = _each(call["padding"], axes), _each(call.get("dilation") or 1, axes)
    steps = []
    for i in range(axes):
        outputs = torch.arange(out.shape[i - axes])[:, None]
        index = outputs * stride[i] - padding[i] + torch.arange(kernel[i]) * dilation[i]
        steps.append(Windows(i - axes, index, x.shape[i - axes]))
    return call.every((x, tuple(steps)))


def adaptive_pooling(call: Call) -> list[list[Source]]:
    """Pooling to a given size: output i covers inputs floor(i n / m) to ceil((i + 1) n / m)."""
    x, out = call["self"], call.outputs[0]
    steps = []
    for axis in range(-len(call["output_size"]), 0):
        n, m = x.shape[axis], out.shape[axis]
        ranges = [range(i * n // m, -((-(i + 1) * n) // m)) for i in range(m)]
        steps.append(Windows(axis, _padded([list(r) for r in ranges]), n))
    return call.every((x, tuple(steps)))


def resizing(call: Call) -> list[list[Source]]:
    """Nearest, linear, cubic and antialiased resizing: the operation itself is asked which inputs it weights."""
    x, out = call["self"], call.outputs[0]
    axes = x.dim() - 2
    scales = [v for n, v in call.arguments.items() if n.startswith("scales")]
    steps = []
    for i in range(axes):
        corners = call.get("align_corners")
        dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        index = _resize_index(call.function, x.shape[2 + i], out.shape[2 + i], i, axes, corners, scales[i], dtype)
        steps.append(Windows(i - axes, index, x.shape[2 + i]))
    return [[(x, tuple(steps))]]


@lru_cache(maxsize=512)
def _resize_index(
    function: Any, n: int, m: int, axis: int, axes: int, corners: bool | None, scale: float | None, dtype: torch.dtype
) -> Int[Tensor, "out taps"]:
    # The other axes are two wide and stay so: on lines one wide the antialiased kernels take their input for a square.
    lines = torch.eye(n, dtype=dtype).reshape(n, 1, *[n if a == axis else 1 for a in range(axes)])
    lines = lines.expand(n, 1, *[n if a == axis else 2 for a in range(axes)]).contiguous()
    size = [m if a == axis else 2 for a in range(axes)]
    scales = [scale if a == axis else None for a in range(axes)]
    weights = function(lines, size, *([] if corners is None else [corners]), *scales)[:, 0].movedim(axis + 1, 1)
    weights = weights.reshape(n, m, -1)[..., 0]
    return _padded([column.nonzero().flatten().tolist() for column in weights.T])


def padding_by_rule(call: Call) -> list[list[Source]]:
    """Reflected and replicated borders."""
    x, pad = call["self"], call["padding"]
    mode = "reflect" if "reflection" in call.name else "replicate"
    steps = []
    for i in range(len(pad) // 2):
        line = torch.arange(x.shape[-1 - i], dtype=torch.float64)[None, None]
        index = torch.nn.functional.pad(line, (pad[2 * i], pad[2 * i + 1]), mode=mode)[0, 0].long()
        steps.append(Windows(-1 - i, index[:, None], x.shape[-1 - i]))
    return [[(x, tuple(steps))]]


def constant_padding(call: Call) -> list[list[Source]]:
    """A border of a constant: its coordinates go on in the unclipped table, as they do inside a convolution."""
    x, pad = call["self"], call["pad"]
    steps = []
    for i in range(len(pad) // 2):
        n = x.shape[-1 - i]
        steps.append(Windows(-1 - i, torch.arange(-pad[2 * i], n + pad[2 * i + 1])[:, None], n))
    return [[(x, tuple(steps))]]


def grid_sampling(call: Call) -> list[list[Source]]:
    """Sampling at given positions: exactly the pixels sampled, where the positions are known; else any of them.

    Positions that depend on the image are known to a value-aware answer, others to a structural one too.
    """
    x, grid, out = call["input"], call["grid"], call.outputs[0]
    maps = tuple(range(2 - x.dim(), 0))
    b, places = out.shape[0], tuple(out.shape[2:])
    line = (b, 1, *places)
    of_grid: Relation = (Every((-1,)), Reshape((b, *places, 1), line), Same(line, tuple(out.shape)))
    if not known(grid) or (call.is_live(grid) and not call.values) or not call.constants:
        call.dense = frozenset([call.short]) if call.is_live(x) else call.dense
        return [[(x, (Every(maps),)), (grid, of_grid)]]
    pixels, points = x[0, 0].numel(), out[0, 0].numel()
    found: list[list[int]] = [[] for _ in range(points)]
    block = max(1, (1 << 23) // max(pixels, points))
    rest = [v for n, v in call.arguments.items() if n not in ("input", "grid")]
    for first in range(0, pixels, block):
        lines = torch.eye(pixels, dtype=x.dtype)[first : first + block].reshape(1, -1, *x.shape[2:])
        weights = call.function(lines.expand(b, *lines.shape[1:]), grid.detach().cpu(), *rest)
        for pixel, point in (weights != 0).any(0).flatten(1).nonzero().tolist():
            found[point].append(first + pixel)
    shape = (*x.shape[:2], pixels)
    steps: Relation = (
        Reshape(tuple(x.shape), shape),
        Windows(-1, _padded(found), pixels),
        Reshape((*x.shape[:2], points), tuple(out.shape)),
    )
    return [[(x, steps), (grid, of_grid)]]


def _padded(lists: Sequence[Sequence[int]]) -> Int[Tensor, "out taps"]:
    width = max(1, *(len(one) for one in lists))
    return torch.tensor([[*one, *[NO_SOURCE] * (width - len(one))] for one in lists])


def _each(value: Any, axes: int) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * axes if len(values) == 1 else values


_RESIZES = ("nearest", "linear", "bilinear", "trilinear", "bicubic")
RULES: dict[str, Rule] = {
    **{f"aten::{n}": convolution for n in ("convolution", "_convolution", "convolution_overrideable")},
    **{f"aten::max_pool{n}d_with_indices": pooling for n in (2, 3)},
    **{f"aten::{kind}_pool{n}d": pooling for n in (1, 2, 3) for kind in ("max", "avg")},
    **{f"aten::_adaptive_avg_pool{n}d": adaptive_pooling for n in (2, 3)},
    **{f"aten::adaptive_{kind}_pool{n}d": adaptive_pooling for n in (1, 2, 3) for kind in ("max", "avg")},
    **{f"aten::upsample_{kind}{n}d": resizing for n in (1, 2, 3) for kind in _RESIZES},
    **{f"aten::_upsample_nearest_exact{n}d": resizing for n in (1, 2, 3)},
    **{f"aten::_upsample_{kind}2d_aa": resizing for kind in ("bilinear", "bicubic", "lanczos")},
    **{f"aten::{kind}_pad{n}d": padding_by_rule for n in (1, 2, 3) for kind in ("reflection", "replication")},
    "aten::constant_pad_nd": constant_padding,
    "aten::grid_sampler_2d": grid_sampling,
    "aten::grid_sampler_3d": grid_sampling,
}
