"""Non-local attention against its N x N form: time as a ratio, peak memory over the inputs, correctness first.

    python benchmarks/non_local.py

The plain form is the published one (Wang et al., 2018, https://arxiv.org/abs/1711.07971) with its table in memory; the
lean one is what "auto" takes on a CPU. For softmax PyTorch's own scaled_dot_product_attention stands beside them, as
"sdpa", and the backend "fused" where it can serve. All forms get the same tensors, in turns in one
process; a ratio is taken within each turn. Memory is the peak of one forward and backward pass above the inputs, in a
process of its own. The operators' tests run first; on red there is no table.

    python benchmarks/non_local.py --skip-tests --only softmax --largest 4096 --dtype bfloat16

is a quick look at a part. Left out: other devices.
"""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from sightline.bench import cases, machine, measure
from sightline.ops.non_local import non_local_attention

ROOT = pathlib.Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "non_local.md"
TESTS = ["tests/ops/test_non_local.py", "tests/ops/test_concatenation.py"]
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
CASES = [  # pairwise, d, c, side of the map
    ("softmax", 256, 256, 32),
    ("softmax", 32, 32, 64),
    ("softmax", 256, 256, 97),
    ("softmax", 64, 256, 97),
    ("dot_product", 256, 256, 97),
    ("concatenation", 1, 256, 16),
    ("concatenation", 1, 256, 32),
    ("concatenation", 1, 256, 64),
    ("concatenation", 1, 256, 97),
]
Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="one thread counts process time, more the wall clock")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--only", choices=("softmax", "dot_product", "concatenation"), help="one pairwise function")
    parser.add_argument("--largest", type=int, default=10**9, help="leave out maps of more positions")
    parser.add_argument("--skip-tests", action="store_true", help="for a quick look; nothing is written")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if not asked.skip_tests and subprocess.run([sys.executable, "-m", "pytest", *TESTS], cwd=ROOT).returncode:
        sys.exit("the operators' tests are red: no figures")
    lines = [*heading(asked), *times(asked), "", *memory(asked)]
    whole = asked.only is None and max(side**2 for *_, side in CASES) <= asked.largest and asked.dtype == "float32"
    if whole and not asked.skip_tests:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(lines) + "\n")


def heading(asked: argparse.Namespace) -> list[str]:
    clock = "process time" if asked.threads == 1 else "wall clock"
    return show(
        "# Non-local attention: the lean forms against the N x N form",
        "",
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in machine.provenance().items()),
        f"- {asked.dtype}, batch 1, {clock}, {asked.repetitions} interleaved turns: "
        "median [first quartile, third quartile]",
        "",
    )


def chosen(asked: argparse.Namespace) -> list[tuple[str, int, int, int]]:
    return [c for c in CASES if asked.only in (None, c[0]) and c[3] ** 2 <= asked.largest]


def tensors(d: int, c: int, side: int, layout: str, dtype: str) -> list[Tensor]:
    """Query, key, value, which want gradients, and the output's gradient; scores with the spread of trained ones."""
    torch.manual_seed(0)
    maps = [torch.randn(1, n, side, side).contiguous(memory_format=LAYOUTS[layout]) for n in (d, d, c, c)]
    maps[0] /= d**0.5
    maps = [t.to(getattr(torch, dtype)) for t in maps]
    return [t.requires_grad_() for t in maps[:3]] + maps[3:]


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PyTorch's operator as most people call it."""
    q, k, v = (t.flatten(2).transpose(1, 2)[:, None] for t in (query, key, value))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    return out[:, 0].transpose(1, 2).unflatten(2, query.shape[2:])


def names(pairwise: str, d: int, c: int) -> list[str]:
    """The forms there are of a case."""
    if pairwise != "softmax":
        return ["plain", "lean"]
    return ["plain", "lean", "sdpa", "fused"] if d == c else ["plain", "lean", "sdpa"]


def steps(pairwise: str, d: int, c: int, side: int, layout: str, dtype: str) -> dict[str, dict[str, Call]]:
    """Form -> the forward pass alone, and forward and backward."""
    *inputs, gradient = tensors(d, c, side, layout, dtype)
    forms: dict[str, Callable[..., Tensor]] = {
        "plain": cases.naive_non_local(pairwise),
        "lean": lambda q, k, v: non_local_attention(q, k, v, pairwise=pairwise),
        "sdpa": sdpa,
        "fused": lambda q, k, v: non_local_attention(q, k, v, pairwise=pairwise, backend="fused"),
    }

    def calls(form: Callable[..., Tensor]) -> dict[str, Call]:
        def forward() -> Tensor:
            with torch.no_grad():
                return form(*inputs)

        return {"forward": forward, "training": lambda: torch.autograd.grad(form(*inputs), inputs, gradient)}

    return {name: calls(forms[name]) for name in names(pairwise, d, c)}


def training(form: str, pairwise: str, d: int, c: int, side: int, layout: str, dtype: str) -> Call:
    """What a child process measures."""
    return steps(pairwise, d, c, side, layout, dtype)[form]["training"]


def times(asked: argparse.Namespace) -> list[str]:
    lines = show(
        "| pairwise | d, c | N | layout | pass | plain, ms | lean, ms | sdpa, ms | fused, ms "
        "| plain / lean | sdpa / lean | fused / lean |",
        "|---|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|",
    )
    for pairwise, d, c, side in chosen(asked):
        for layout in LAYOUTS:
            forms = steps(pairwise, d, c, side, layout, asked.dtype)
            for part in ("forward", "training"):
                taken = measure.interleave(
                    {form: calls[part] for form, calls in forms.items()},
                    asked.repetitions,
                    clock="cpu" if asked.threads == 1 else "wall",
                )
                middle = {form: f"{1e3 * measure.spread(seconds).median:.3g}" for form, seconds in taken.items()}
                ratios = [ratio(taken, form) for form in ("plain", "sdpa", "fused")]
                lines += show(
                    f"| {pairwise} | {d}, {c} | {side**2} | {layout} | {part} | {middle['plain']} | {middle['lean']} "
                    f"| {middle.get('sdpa', '')} | {middle.get('fused', '')} | {' | '.join(ratios)} |"
                )
    return lines


def ratio(taken: dict[str, list[float]], slow: str) -> str:
    if slow not in taken:
        return ""
    s = measure.speedup(taken, slow, "lean")
    return f"{s.median:.2f} [{s.low:.2f}, {s.high:.2f}]"


def memory(asked: argparse.Namespace) -> list[str]:
    lines = show(
        "Peak memory of a forward and backward pass over its inputs; the least is the output and the gradients.",
        "",
        "| pairwise | d, c | N | layout | least, MB | plain, MB | lean, MB | sdpa, MB | fused, MB | plain / lean |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|---:|",
    )
    for pairwise, d, c, side in chosen(asked):
        for layout in LAYOUTS:
            place = f"{pathlib.Path(__file__).resolve()}:training"
            peak = {
                form: measure.peak_memory(
                    place, [form, pairwise, d, c, side, layout, asked.dtype], threads=asked.threads
                )
                for form in names(pairwise, d, c)
            }
            if None in peak.values():
                return show("Peak memory cannot be measured on this machine.")
            least = 2 * (c + d) * side**2 * getattr(torch, asked.dtype).itemsize
            megabytes = {form: f"{bytes_taken / 1e6:.1f}" for form, bytes_taken in peak.items()}
            lines += show(
                f"| {pairwise} | {d}, {c} | {side**2} | {layout} | {least / 1e6:.1f} "
                f"| {megabytes['plain']} | {megabytes['lean']} | {megabytes.get('sdpa', '')} "
                f"| {megabytes.get('fused', '')} "
                f"| {peak['plain'] / peak['lean']:.1f} |"
            )
    return lines


def show(*lines: str) -> list[str]:
    print("\n".join(lines), flush=True)
    return list(lines)


if __name__ == "__main__":
    main()
