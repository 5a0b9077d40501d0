"""When does attention stop fitting? Time and peak memory of one training step against the side of the image.

Five layers on the map of an image (one position for each `stride` pixels along each axis): non-local attention with its
N x N table (Wang et al., 2018, https://arxiv.org/abs/1711.07971) and without, criss-cross attention with two passes
(Huang et al., 2019, https://arxiv.org/abs/1811.11721) with its H W (H + W) tables and without, and a block of the
Vision Transformer. The naive and the lean form have the same projections and give the same numbers, which is checked
first; only the operator differs.

A size that one call could not do within `seconds`, or within the memory, is not measured; from there on a law, start +
factor x side ^ exponent, fitted to the largest sizes that were, says how it goes on. Left out:
batches, other precisions, graphics cards, what the optimiser holds, and recomputation in place of memory.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.bench.cases import CASES
from sightline.bench.measure import can_measure_memory, interleave, peak_memories, spread
from sightline.layers.transformer import TransformerBlock
from sightline.run import keep_interrupts_back, stop_on_interrupt
from sightline.studies.folder import RESULTS, at_least_one, command_of, machine, open_study, versions, write_results

GB = 1e9
SAME = ("channels", "stride", "sides", "memory", "seconds", "repeats", "threads")
NON_LOCAL, CRISS_CROSS, BLOCK = "non-local", "criss-cross R=2", "ViT block"
FORMS = (f"naive {NON_LOCAL}", f"lean {NON_LOCAL}", f"naive {CRISS_CROSS}", f"lean {CRISS_CROSS}", BLOCK)
OPERATORS = {NON_LOCAL: CASES["softmax"], CRISS_CROSS: CASES["recurrent_criss_cross"]}
TAIL = 4  # of the largest sizes, which the law is fitted to
HEAD_WIDTH = 64  # of the block's attention, as in every published size
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Memory:
    """Settings of the study; the sizes and the time of one call bound what it costs."""

    out: Path = Path("runs/memory")
    """Folder for the page and results.json."""
    resume: bool = False
    """Go on with the sizes that lie in the folder."""
    memory: float = 8.0
    """The memory that a training step may take, in GB."""
    channels: int = 64
    """Width of the map, the same for every layer."""
    stride: int = 8
    """Pixels of the image for each position of the map, along each axis."""
    sides: tuple[int, ...] = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
    """Sides of the image in pixels, from small to large."""
    seconds: float = 4.0
    """The most that one call may take; a layer that would take longer goes on by its law."""
    repeats: int = 3
    """Timings of each layer at each size."""
    threads: int = 1
    """Threads that PyTorch computes with."""


class Layer(nn.Module):
    """Three projections, an operator, a projection back and the residual: all that differs is the operator."""

    def __init__(self, channels: int, inner: int, value: int, operator: Callable[..., Tensor]) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value, self.back = nn.Conv2d(channels, value, 1), nn.Conv2d(value, channels, 1)
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        """Look around and add."""
        return x + self.back(self.operator(self.query(x), self.key(x), self.value(x)))


class Block(nn.Module):
    """A block of the Vision Transformer on a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = TransformerBlock(channels, max(channels // HEAD_WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The map's positions are the tokens."""
        return self.block(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])


def layer(form: str, channels: int) -> nn.Module:
    """A layer of this study, the same weights at every call."""
    torch.manual_seed(0)
    if form == BLOCK:
        return Block(channels)
    kind, _, name = form.partition(" ")
    case = OPERATORS[name]
    inner, value = (max(channels // 2, 1),) * 2 if name == NON_LOCAL else (max(channels // 8, 1), channels)
    return Layer(channels, inner, value, case.naive if kind == "naive" else case.lean)


def step(form: str, channels: int, side: int) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of one layer on a map of `side` x `side` positions, which leave nothing behind."""
    built = layer(form, channels)
    x = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(1)).requires_grad_()
    wanted = [x, *built.parameters()]

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(built(x).sum(), wanted)

    return call


def steps(forms: Sequence[str], channels: int, side: int) -> dict[str, Callable[[], Any]]:
    """Several layers' steps by name, for the child process that measures their memory."""
    return {form: step(form, channels, side) for form in forms}


def check_forms(channels: int) -> float:
    """The largest difference between the gradients of a naive and a lean layer, on a small map, over the largest one.

    Raises:
        RuntimeError: they are not the same function.
    """
    largest = 0.0
    for name in OPERATORS:
        naive, lean = (step(f"{kind} {name}", channels, 8)() for kind in ("naive", "lean"))
        scale = max(float(one.abs().max()) for one in naive)  # of all: a key's bias has no gradient but rounding
        for one, other in zip(naive, lean, strict=True):
            largest = max(largest, float((one - other).abs().max()) / scale)
    if largest > TOLERANCE:
        raise RuntimeError(f"the naive and the lean forms differ by {largest:.1e}: nothing is measured")
    return largest


@dataclass(frozen=True)
class PowerLaw:
    """start + factor * side ^ exponent: what a layer takes at any size, and what grows."""

    start: float
    factor: float
    exponent: float

    def __call__(self, side: float | int) -> float:
        """The value at this side."""
        return self.start + self.factor * side**self.exponent

    def side_at(self, value: float) -> float:
        """Where it comes to this value; 0 where the start is beyond it already."""
        return (max(value - self.start, 0.0) / self.factor) ** (1 / self.exponent)


def fit(sides: Sequence[float], values: Sequence[float], *, start: bool = False) -> PowerLaw | None:
    """The law with the least relative errors, squared, over the largest sides; None where there are fewer than two.

    With `start` a constant of zero or more is fitted too, where there are enough sizes: a blockwise layer holds its
    block at any size.
    """
    x, y = (np.array(many[-TAIL:], dtype=float) for many in (sides, values))
    if len(x) < 2:
        return None
    best, least = None, math.inf
    for exponent in np.arange(50, 501) / 100:
        grown = x**exponent / y
        columns = np.stack([1 / y, grown], 1) if start and len(x) >= TAIL else grown[:, None]
        found = np.linalg.lstsq(columns, np.ones_like(y), rcond=None)[0]
        if len(found) == 2 and found[0] < 0:
            columns, found = grown[:, None], np.linalg.lstsq(grown[:, None], np.ones_like(y), rcond=None)[0]
        error = float(((columns @ found - 1) ** 2).sum())
        if found[-1] > 0 and error < least:
            first = float(found[0]) if len(found) == 2 else 0.0
            best, least = PowerLaw(first, float(found[-1]), float(exponent)), error
    return best


def of_form(rows: Sequence[Mapping[str, Any]], form: str, name: str) -> tuple[list[float], list[float]]:
    """Sides and values of what was measured of one layer."""
    found = [(row["side"], row[name]) for row in rows if row["form"] == form and row.get(name)]
    return [float(side) for side, _ in found], [float(value) for _, value in found]


def would_fit(rows: Sequence[Mapping[str, Any]], form: str, side: int, settings: Memory) -> bool:
    """Whether a layer at this size is worth a measurement, by what the smaller sizes took."""
    for name, most in (("seconds", settings.seconds), ("bytes", min(settings.memory * GB, free_memory() / 2))):
        sides, values = of_form(rows, form, name)
        law = fit(sides[-2:], values[-2:])
        if law is not None and law(side) > most:
            return False
    return True


def free_memory() -> float:
    """Bytes that this machine could still give."""
    path = Path("/proc/meminfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024.0
    return math.inf


def measure(forms: Sequence[str], side: int, settings: Memory) -> list[dict[str, Any]]:
    """Time and peak memory of several layers at one size; the timings take turns."""
    cells = side // settings.stride
    clock = "cpu" if settings.threads == 1 else "wall"
    timed = interleave(steps(forms, settings.channels, cells), settings.repeats, clock=clock)
    arguments = [list(forms), settings.channels, cells]
    with keep_interrupts_back():  # a terminal's Ctrl-C would end the child in the middle of its measurement
        peaks = peak_memories("sightline.studies.memory:steps", arguments, threads=settings.threads)
    rows = []
    for form in forms:
        time = spread(timed[form])
        rows.append(
            {
                "form": form,
                "side": side,
                "positions": cells * cells,
                "seconds": time.median,
                "seconds_low": time.low,
                "seconds_high": time.high,
                "bytes": None if peaks is None else peaks[form],
            }
        )
    return rows


def summarise(rows: Sequence[Mapping[str, Any]], settings: Memory) -> list[dict[str, Any]]:
    """For each layer its laws, the size at which it stops fitting, and how long a step would take there."""
    found = []
    for form in FORMS:
        sides, sizes = of_form(rows, form, "bytes")
        times_at, times = of_form(rows, form, "seconds")
        if not times_at:
            continue
        memory, time = fit(sides, sizes, start=True), fit(times_at[1 - TAIL :], times[1 - TAIL :])
        limit = memory.side_at(settings.memory * GB) if memory is not None else None
        before = fit(sides[:-1], sizes[:-1], start=True)
        found.append(
            {
                "form": form,
                "measured_to": times_at[-1],
                "memory_law": None if memory is None else asdict(memory),
                "time_law": None if time is None else asdict(time),
                "largest_side": limit,
                "extrapolated": None if limit is None else limit > sides[-1],
                "seconds_there": None if limit is None or time is None else time(limit),
                # how far off the law of the smaller sizes was at the largest one
                "missed_by": sizes[-1] / before(sides[-1]) - 1 if before is not None and len(sides) > TAIL else None,
            }
        )
    return found


def check(settings: Memory) -> None:
    """Refuse what cannot be measured.

    Raises:
        ValueError: in one sentence.
    """
    at_least_one(settings, "channels", "stride", "repeats", "threads")
    if settings.memory <= 0 or settings.seconds <= 0:
        raise ValueError(f"--memory and --seconds must be positive, got {settings.memory:g} and {settings.seconds:g}")
    if settings.channels > HEAD_WIDTH and settings.channels % HEAD_WIDTH:
        raise ValueError(
            f"--channels beyond {HEAD_WIDTH} must be a multiple of it, for the heads, got {settings.channels}"
        )
    sides = settings.sides
    if len(sides) < 2 or list(sides) != sorted(set(sides)) or any(side < 2 * settings.stride for side in sides):
        raise ValueError(
            f"--sides must be two or more, each larger than the one before and at least {2 * settings.stride}, "
            f"twice the stride, got {' '.join(map(str, sides))}"
        )
    if any(side % settings.stride for side in sides):
        raise ValueError(f"--sides must be multiples of the stride {settings.stride}, got {' '.join(map(str, sides))}")


def run(settings: Memory) -> None:
    """Measure, fit and write the page; minutes. Ctrl-C keeps the sizes that are done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end.
    """
    from sightline.studies import memory_page

    check(settings)
    torch.set_num_threads(settings.threads)
    apart = check_forms(settings.channels)
    out = open_study(settings, SAME)
    path = out / RESULTS
    rows = json.loads(path.read_text())["rows"] if settings.resume and path.exists() else []
    done = {row["side"] for row in rows}
    if not can_measure_memory():
        print("this machine does not let a process measure its peak memory: the page will have the time alone")
    with stop_on_interrupt() as stop:
        for place, side in enumerate(settings.sides):
            forms = [form for form in FORMS if would_fit(rows, form, side, settings)]
            if side in done or not forms:
                continue
            if stop.requested:
                break
            print(f"{side} x {side} pixels, size {place + 1} of {len(settings.sides)}: {', '.join(forms)}", flush=True)
            rows += measure(forms, side, settings)
            done.add(side)
            write_results(out, results_of(settings, rows, apart, finished=False))
        finished = not stop.requested
        results = results_of(settings, rows, apart, finished=finished)
        write_results(out, results)
        print(memory_page.write(out, results))
    if not finished:
        raise KeyboardInterrupt(f"stopped; the sizes that were measured are kept in {out}, and --resume goes on")


def results_of(settings: Memory, rows: Sequence[Mapping[str, Any]], apart: float, *, finished: bool) -> dict[str, Any]:
    """What `results.json` holds."""
    return {
        "study": "memory",
        "command": command_of("memory", settings),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            **{name: value for name, value in asdict(settings).items() if name not in ("out", "resume")},
            "precision": "float32",
            "images": 1,
        },
        "naive_and_lean_differ_by": apart,
        "rows": list(rows),
        "summary": summarise(rows, settings),
        "finished": finished,
    }
