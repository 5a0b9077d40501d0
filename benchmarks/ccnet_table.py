"""Criss-cross against non-local attention at the size of CCNet's efficiency table: what of its claims stands today.

Huang et al. (2019, https://arxiv.org/abs/1811.11721) compare the FLOPs and the memory that each module adds for a
512-channel map of 97 x 97 (an image of 769 x 769), and write "11 times less GPU memory" and "about 85 % fewer FLOPs".
Here every module is the same three 1x1 convolutions (queries and keys of 64 channels), an attention, gamma and the
residual; only the attention differs. FLOPs are PyTorch's count of the plain form's forward pass (2 per multiply and
add; softmax and additions not counted, as in the paper); lean forms compute the same function, not counted apart.

    python benchmarks/ccnet_table.py

Left out: GPUs (the paper's memory was measured on one), and accuracy.
"""

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sightline.bench import machine
from sightline.bench.cases import naive_non_local, truth
from sightline.bench.measure import interleave, peak_memory, speedup, spread
from sightline.layers.criss_cross import CrissCross
from sightline.ops import criss_cross_plain
from sightline.ops.criss_cross import criss_cross_attention
from sightline.ops.non_local import non_local_attention
from sightline.ops.patterns import criss_cross, everything
from sightline.run.files import write_whole

PAPER = {("naive", 1): (108.0, 1411.0), ("plain", 2): (16.5, 127.0)}  # GFLOP and "M" of memory added


def through_sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Non-local attention by PyTorch's fused kernel: it wants equal widths, and zeros added to a score change none."""
    # Channels must lie side by side, too: other strides silently take the path with the N x N table.
    wide = [nn.functional.pad(t.flatten(2).mT, (0, value.shape[1] - t.shape[1])).contiguous() for t in (query, key)]
    narrow = value.flatten(2).mT.contiguous()
    out = nn.functional.scaled_dot_product_attention(wide[0][:, None], wide[1][:, None], narrow[:, None], scale=1.0)
    return out[:, 0].mT.unflatten(2, query.shape[2:])


ATTENTION: dict[str, tuple[str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "naive": ("non-local", naive_non_local("softmax")),
    "SDPA": ("non-local", through_sdpa),
    "Sightline non-local": ("non-local", non_local_attention),
    "plain": ("criss-cross", criss_cross_plain.attention),
    "Sightline criss-cross": ("criss-cross", criss_cross_attention),
}
ROWS = [
    ("naive", 1),
    ("SDPA", 1),
    ("Sightline non-local", 1),
    ("plain", 1),
    ("plain", 2),
    ("plain", 3),
    ("Sightline criss-cross", 1),
    ("Sightline criss-cross", 2),
    ("Sightline criss-cross", 3),
]


def block(layer: CrissCross, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor], passes: int) -> Tensor:
    """The module of the table: `passes` times projections, attention, gamma and the residual."""
    for _ in range(passes):
        x = layer.gamma * attend(layer.query_conv(x), layer.key_conv(x), layer.value_conv(x)) + x
    return x


def check() -> None:
    """Every form equals the slow reference, output and all gradients, in float64."""
    torch.manual_seed(0)
    layer = CrissCross(16, gamma=0.7).double()
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64, requires_grad=True)
    leaves = [x, *layer.parameters()]
    for attend in ATTENTION.values():
        slow = truth(criss_cross if attend[0] == "criss-cross" else everything)
        for passes in (1, 2):
            outs = [block(layer, x, form, passes) for form in (attend[1], slow)]
            torch.testing.assert_close(outs[0], outs[1])
            gradients = [torch.autograd.grad(out.square().sum(), leaves) for out in outs]
            torch.testing.assert_close(gradients[0], gradients[1])


def gigaflops(form: str, passes: int, channels: int, size: int) -> float:
    """Forward multiplications and additions, in units of 1e9, counted on tensors without memory."""
    with torch.device("meta"):
        layer, x = CrissCross(channels), torch.empty(1, channels, size, size)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        block(layer, x, ATTENTION[form][1], passes)
    return counter.get_total_flops() / 1e9


def build(form: str, passes: int, channels: int, size: int) -> Callable[[], object]:
    """One training step without an optimiser: forward, and the gradients of the input and of every parameter."""
    torch.manual_seed(0)
    layer = CrissCross(channels, gamma=0.5)
    x = torch.randn(1, channels, size, size, requires_grad=True)
    gradient = torch.randn_like(x)
    leaves = [x, *layer.parameters()]

    def step() -> tuple[Tensor, ...]:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # an error rather than a table of weights in secret
            return torch.autograd.grad(block(layer, x, ATTENTION[form][1], passes), leaves, gradient)

    return step


@dataclasses.dataclass(frozen=True)
class Settings:
    """Criss-cross against non-local attention: FLOPs, memory and time of one module."""

    channels: int = 512
    """Channels of the map; queries and keys have an eighth."""
    size: int = 97
    """Side of the map."""
    repeats: int = 5
    """Turns of the timing."""
    threads: int = 1
    """Threads; with one, the process's own time is measured, else wall time."""
    out: Path | None = Path(__file__).parent / "results" / "ccnet_table.md"
    """The page that is written."""


def table(settings: Settings) -> str:
    """Measure everything, and say what stands."""
    channels, size = settings.channels, settings.size
    clock = "cpu" if settings.threads == 1 else "wall"
    functions = {f"{form} {passes}": build(form, passes, channels, size) for form, passes in ROWS}
    seconds = interleave(functions, settings.repeats, clock=clock)
    del functions
    flops = {}
    for form, passes in ROWS:
        # A lean form computes what the plain form of its kind does; SDPA really multiplies the zeros, and is counted.
        counted = form if form == "SDPA" else {"non-local": "naive", "criss-cross": "plain"}[ATTENTION[form][0]]
        flops[form, passes] = gigaflops(counted, passes, channels, size)
    memory = {
        row: peak_memory(f"{Path(__file__)}:build", (*row, channels, size), threads=settings.threads) for row in ROWS
    }
    lines = [
        "| module | passes | GFLOP, forward | paper | training peak over the inputs, MiB | paper, M | "
        f"training step, {clock} s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for form, passes in ROWS:
        kind = ATTENTION[form][0]
        paper = PAPER.get((form, passes), (None, None))
        name = form if form.startswith("Sightline") else f"{form} {kind}"
        time = spread(seconds[f"{form} {passes}"])
        cells = [name, str(passes), f"{flops[form, passes]:.2f}", _number(paper[0]), _mebibytes(memory[form, passes])]
        cells += [_number(paper[1]), f"{time.median:.2f} [{time.low:.2f}, {time.high:.2f}]"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_verdict(flops, memory, seconds)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _mebibytes(peak: int | None) -> str:
    return "not measured" if peak is None else f"{peak / 2**20:.0f}"


def _verdict(
    flops: dict[tuple[str, int], float],
    memory: dict[tuple[str, int], int | None],
    seconds: dict[str, list[float]],
) -> list[str]:
    fewer = 100 * (1 - flops["plain", 2] / flops["naive", 1])
    said = [f"- **FLOPs reproduce**: two passes need {fewer:.1f} % fewer than non-local attention."]
    ours, theirs = memory["Sightline criss-cross", 2], memory["naive", 1]
    lean = min((m for m in (memory["SDPA", 1], memory["Sightline non-local", 1]) if m is not None), default=None)
    if ours is not None and theirs is not None and lean is not None:
        said.append(
            f'- **"11 times less memory" is a claim about the naive form**: against it two lean passes take '
            f"{theirs / ours:.1f} times less; against exact non-local attention without its table they take "
            f"{ours / lean:.2f} times as much."
        )
    plain = memory["plain", 2]
    if ours is not None and plain is not None:
        said.append(
            f"- **Lean against plain criss-cross**: two passes take {ours / plain:.2f} times the memory. For backward, "
            "plain keeps H + W weights per position, lean the output's channels: lean saves memory where H + W is more "
            "(`benchmarks/criss_cross.py`)."
        )
    for slow in ("naive", "SDPA", "Sightline non-local"):
        ratio = speedup(seconds, f"{slow} 1", "Sightline criss-cross 2")
        name = slow if slow.startswith("Sightline") else f"{slow} non-local"
        said.append(
            f"- **The time lead stands**: two passes train {ratio.median:.1f} times faster than {name} "
            f"[{ratio.low:.1f}, {ratio.high:.1f}]."
            if ratio.low > 1
            else f"- No time lead over {name}: {ratio.median:.2f} times [{ratio.low:.2f}, {ratio.high:.2f}]."
        )
    turns = statistics.median(len(values) for values in seconds.values())
    said.append(f"- Medians and quartiles over {turns:g} turns; ratios are taken within each turn.")
    return said


def main(settings: Settings) -> None:
    """Check, measure, print, write."""
    torch.set_num_threads(settings.threads)
    check()
    page = [
        "# Criss-cross and non-local attention at the size of CCNet's table",
        "",
        f"One module on a map of 1 x {settings.channels} x {settings.size} x {settings.size}, float32. What the",
        "columns mean stands at the head of `benchmarks/ccnet_table.py`. The paper's figures are quoted from copies",
        "of its tables; where a cell is empty no copy could be found.",
        "",
        table(settings),
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in machine.provenance().items()),
    ]
    print("\n".join(page))
    if settings.out is not None:
        write_whole(settings.out, "\n".join(page) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings))
