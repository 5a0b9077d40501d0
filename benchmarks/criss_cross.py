"""Criss-cross attention against the plain einsum form: time as a ratio, memory over the inputs, correctness first.

    python benchmarks/criss_cross.py

The plain form is the published one (Huang et al., 2019, https://arxiv.org/abs/1811.11721): every weight in memory. Both
forms get the same tensors, take turns in one process, and report the median ratio with its spread. Memory is the peak
resident size above the inputs, measured in a process of its own, against output and gradients alone. The operator's
tests run first; on red there is no table.

Left out: other devices, other types, and the layer around the operator.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from sightline.ops import criss_cross_plain
from sightline.ops.criss_cross import criss_cross_attention

ROOT = pathlib.Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "criss_cross.md"
TESTS = "tests/ops/test_criss_cross.py"
SHAPES = [(1, 512, 64, 97, 97), (2, 64, 8, 128, 256)]  # b, c, d, h, w
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
FORMS = {"plain": criss_cross_plain.attention, "lean": criss_cross_attention}
MEGABYTE = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="one thread counts process time, more the wall clock")
    parser.add_argument("--skip-tests", action="store_true", help="for a quick look; nothing is written")
    parser.add_argument("--peak", nargs=7, metavar=("FORM", "LAYOUT", "B", "C", "D", "H", "W"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.peak:
        form, layout, *shape = asked.peak
        print(peak_over_inputs(form, layout, tuple(int(n) for n in shape)))
        return
    if not asked.skip_tests and subprocess.run([sys.executable, "-m", "pytest", TESTS], cwd=ROOT).returncode:
        sys.exit("the operator's tests are red: no figures")
    lines = [*heading(asked), "", *table_of_times(asked), "", *table_of_memory(asked)]
    if not asked.skip_tests:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(lines) + "\n")


def heading(asked: argparse.Namespace) -> list[str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    clock = "process time" if asked.threads == 1 else "wall clock"
    lines = [
        "# Criss-cross attention: the lean form against the plain einsum form",
        "",
        f"    python benchmarks/criss_cross.py --repetitions {asked.repetitions} --threads {asked.threads}",
        "",
        f"Commit {commit.strip()}; {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; "
        f"PyTorch {torch.__version__}, float32, {asked.threads} thread(s), {clock}, median of "
        f"{asked.repetitions} interleaved repetitions.",
    ]
    print("\n".join(lines))
    return lines


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def tensors(shape: tuple[int, ...], layout: str) -> tuple[list[Tensor], Tensor]:
    """Query, key and value that want gradients, and the output's gradient."""
    b, c, d, h, w = shape
    torch.manual_seed(0)
    *inputs, gradient = (torch.randn(b, n, h, w).contiguous(memory_format=LAYOUTS[layout]) for n in (d, d, c, c))
    return [t.requires_grad_() for t in inputs], gradient


def table_of_times(asked: argparse.Namespace) -> list[str]:
    lines = show(
        "| (b, c, d, h, w) | layout | plain forward / + backward, ms | lean forward / + backward, ms "
        "| ratio forward | ratio forward + backward (spread) |",
        "|---|---|---|---|---|---|",
    )
    for shape in SHAPES:
        for layout in LAYOUTS:
            inputs, gradient = tensors(shape, layout)
            seconds: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
            for repetition in range(asked.repetitions + 1):
                for form in FORMS:
                    taken = one_step(form, inputs, gradient, asked.threads)
                    if repetition:  # the first one warms up
                        seconds[form].append(taken)
            middle = {
                form: " / ".join(f"{1e3 * statistics.median(column):.0f}" for column in zip(*taken, strict=True))
                for form, taken in seconds.items()
            }
            forward, both = (
                sorted(p[i] / q[i] for p, q in zip(seconds["plain"], seconds["lean"], strict=True)) for i in (0, 1)
            )
            lines += show(
                f"| {shape} | {layout} | {middle['plain']} | {middle['lean']} | {statistics.median(forward):.2f} "
                f"| {statistics.median(both):.2f} ({both[0]:.2f} to {both[-1]:.2f}) |"
            )
    return lines


def one_step(form: str, inputs: list[Tensor], gradient: Tensor, threads: int) -> tuple[float, float]:
    """Seconds of the forward pass, and of forward and backward."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    out = FORMS[form](*inputs)
    middle = clock()
    torch.autograd.grad(out, inputs, gradient)
    return middle - start, clock() - start


def table_of_memory(asked: argparse.Namespace) -> list[str]:
    lines = show(
        "| (b, c, d, h, w) | layout | output + gradients, MB | plain peak, MB | lean peak, MB | plain | lean |",
        "|---|---|---|---|---|---|---|",
    )
    for shape in SHAPES:
        b, c, d, h, w = shape
        least = 4 * b * (2 * c + 2 * d) * h * w
        for layout in LAYOUTS:
            peak = {form: in_a_process_of_its_own(form, layout, shape, asked.threads) for form in FORMS}
            lines += show(
                f"| {shape} | {layout} | {least / MEGABYTE:.1f} | {peak['plain'] / MEGABYTE:.1f} "
                f"| {peak['lean'] / MEGABYTE:.1f} | {peak['plain'] / least:.2f} x | {peak['lean'] / least:.2f} x |"
            )
    return lines


def in_a_process_of_its_own(form: str, layout: str, shape: tuple[int, ...], threads: int) -> int:
    command = [sys.executable, __file__, "--threads", str(threads), "--peak", form, layout, *map(str, shape)]
    # Small blocks are handed back to the system as well: what is freed does not count.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return int(answer)


def peak_over_inputs(form: str, layout: str, shape: tuple[int, ...]) -> int:
    """Bytes by which one training step's peak exceeds what is resident with the inputs alone."""
    small, small_gradient = tensors((1, 8, 4, 8, 8), layout)
    torch.autograd.grad(FORMS[form](*small), small, small_gradient)  # libraries load their buffers
    inputs, gradient = tensors(shape, layout)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    out = FORMS[form](*inputs)
    gradients = torch.autograd.grad(out, inputs, gradient)
    assert len(gradients) == 3
    return resident("VmHWM") - before


def resident(field: str) -> int:
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(field))


def show(*lines: str) -> list[str]:
    for line in lines:
        print(line, flush=True)
    return list(lines)


if __name__ == "__main__":
    main()
