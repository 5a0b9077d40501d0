"""`sightline bench ops`: time and peak memory of every attention operator, naive and lean, over growing maps.

Correctness comes first: an operator that differs from the slow reference is not timed. All calls of one size take turns
in one process; peak memory is measured in a child process for each form.

Left out: compiled forms, and layers around the operators.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from sightline.bench import machine, tables
from sightline.bench.cases import CASES, Case, calls, inputs
from sightline.bench.measure import Spread, can_measure_memory, interleave, peak_memories, speedup, spread
from sightline.ops.arguments import choose
from sightline.run.device import choose_device
from sightline.run.files import write_whole

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
ALLOWED = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}  # relative L2
ODD_SIZE = (7, 6)  # where correctness is checked: odd, not square


@dataclasses.dataclass(frozen=True)
class Operators:
    """Time and peak memory of the attention operators, naive and lean, on this machine; correctness first."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """criss_cross, recurrent_criss_cross, softmax, dot_product, concatenation; none named means all."""
    sizes: tuple[int, ...] = (16, 32, 64, 96)
    """Sides of the square maps."""
    channels: int = 64
    """Channels of the values; queries and keys have an eighth of them for criss-cross, as many for softmax."""
    batch: int = 1
    """Maps at once."""
    dtype: str = "float32"
    """float32, float64, bfloat16 or float16."""
    device: str = "cpu"
    """cpu, cuda or auto."""
    threads: int = 1
    """Threads of the processor. With one, process time is measured, which neighbours hardly disturb; else wall time."""
    repeats: int = 7
    """Turns; the table gives the median and the quartiles over them."""
    memory: bool = True
    """Also measure peak memory, in child processes."""
    out: Path | None = None
    """A folder for ops.md and ops.json."""


def run(settings: Operators) -> None:
    """Measure, show the table as it grows, write it where asked.

    Raises:
        ValueError: a setting does not fit, or an operator is wrong (the right ones are measured and written first).
    """
    names = [choose("operator", name, CASES) for name in settings.names] or list(CASES)
    dtype = DTYPES[choose("dtype", settings.dtype, DTYPES)]
    device = choose_device(settings.device, dtype)
    _check(settings)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        rows: list[dict[str, Any]] = []
        wrong: list[str] = []
        with tables.live(memory=settings.memory) as show:
            for name in names:
                reason = mistake(CASES[name], dtype, device)
                if reason is not None:
                    wrong.append(f"{name} is wrong and was not timed: {reason}")
                    continue
                for size in settings.sizes:
                    rows.append(measure_one(name, size, settings, dtype, device))
                    show(rows)
        told = {**machine.provenance(), "memory": _how_memory(settings, device), "clock": _clock(settings, device)}
    finally:
        torch.set_num_threads(threads_before)
    print("\n".join(f"{what}: {text}" for what, text in told.items()))
    if settings.out is not None:
        with contextlib.suppress(FileExistsError):
            settings.out.mkdir(parents=True)
        plain = {**dataclasses.asdict(settings), "out": str(settings.out)}
        write_whole(settings.out / "ops.json", tables.as_json({"about": told, "settings": plain, "rows": rows}))
        write_whole(settings.out / "ops.md", tables.as_markdown(rows, told, memory=settings.memory))
        print(f"written: {settings.out / 'ops.md'} and {settings.out / 'ops.json'}")
    if wrong:
        raise ValueError("; ".join(wrong))


def _check(settings: Operators) -> None:
    for what, value in (("batch", settings.batch), ("threads", settings.threads), ("repeats", settings.repeats)):
        if value < 1:
            raise ValueError(f"--{what} is at least 1, got {value}")
    if settings.channels < 1 or not settings.sizes or min(settings.sizes) < 1:
        raise ValueError(
            f"maps have at least 1 channel and sides of at least 1, got {settings.channels}, {settings.sizes}"
        )


def mistake(case: Case, dtype: torch.dtype, device: torch.device) -> str | None:
    """How a form differs from the slow reference, output and all gradients; None where both forms are right.

    In float64 every digit must agree; then `dtype` must be as close as its rounding allows.
    """
    for precision in dict.fromkeys((torch.float64, dtype)):
        exact = inputs(case, 2, 5, ODD_SIZE, torch.float64, device)
        rounded = inputs(case, 2, 5, ODD_SIZE, precision, device)
        wanted = _out_and_gradients(case.truth, exact)
        for form, operator in (("naive", case.naive), ("lean", case.lean)):
            # Naive forms keep their scores in half precision: that is their nature, not a mistake of ours.
            if form == "naive" and precision.itemsize < 4:
                continue
            got = _out_and_gradients(operator, rounded)
            for what, a, b in zip(("output", "query", "key", "value"), got, wanted, strict=True):
                error = _distance(a, b)
                if not error <= ALLOWED[precision]:
                    part = what if what == "output" else f"gradient of {what}"
                    return f"the {part} of its {form} form is off by {error:.1e} in {str(precision)[6:]}"
    return None


def _out_and_gradients(operator: Any, tensors: list[Tensor]) -> list[Tensor]:
    out = operator(*tensors)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64, device=out.device).reshape(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, tensors, weight)]


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b).norm() / b.norm().clamp_min(1e-12))


def measure_one(name: str, size: int, settings: Operators, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """One row: seconds and bytes of both forms on maps of one size, and their ratios; what did not fit says why."""
    case = CASES[name]
    row: dict[str, Any] = {"operator": name, "map": [size, size], "forms": {"naive": {}, "lean": {}}, "skipped": None}
    needed, free = case.naive_bytes(settings.batch, size, dtype.itemsize), _free(device)
    forms = ["naive", "lean"]
    if free is not None and needed > 0.8 * free:
        forms = ["lean"]
        row["skipped"] = f"naive would take about {needed / 2**30:.0f} GiB, {free / 2**30:.0f} GiB are free"
    tensors = inputs(case, settings.batch, settings.channels, (size, size), dtype, device)
    functions = {f"{form} {p}": call for form in forms for p, call in calls(getattr(case, form), tensors).items()}
    seconds = interleave(functions, settings.repeats, clock=_clock(settings, device))
    for key, values in seconds.items():
        form, part = key.split()
        row["forms"][form][f"{part}_seconds"] = dataclasses.asdict(spread(values))
    if len(forms) == 2:
        for part in ("forward", "training"):
            faster: Spread = speedup(seconds, f"naive {part}", f"lean {part}")
            row[f"{part}_speedup"] = dataclasses.asdict(faster)
    del tensors, functions
    if settings.memory:
        for form in forms:
            arguments = (name, form, settings.batch, settings.channels, size, settings.dtype, str(device))
            peaks = peak_memories(build_for_memory, arguments, threads=settings.threads)
            for part, peak in (peaks or {}).items():
                row["forms"][form][f"{part}_bytes"] = peak
    return row


def build_for_memory(name: str, form: str, batch: int, channels: int, size: int, dtype: str, device: str) -> Any:
    """What the child process measures: both calls of one form."""
    case = CASES[name]
    tensors = inputs(case, batch, channels, (size, size), DTYPES[dtype], torch.device(device))
    return calls(getattr(case, form), tensors)


def _free(device: torch.device) -> int | None:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else machine.memory_available()


def _clock(settings: Operators, device: torch.device) -> str:
    return "cpu" if settings.threads == 1 and device.type == "cpu" else "wall"


def _how_memory(settings: Operators, device: torch.device) -> str:
    if not settings.memory:
        return "not asked for"
    if device.type == "cuda":
        return "peak over the inputs, by PyTorch's own count on the device, in a child process"
    if not can_measure_memory():
        return "not measured: this system does not let a process reset its high-water mark"
    return "peak over the inputs, resident memory of a child process"
