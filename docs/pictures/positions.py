"""What each position scheme finds similar to one position: `python docs/pictures/positions.py` draws positions.png.

A panel shows, for the marked query, every position's similarity to it, on one scale where 1 is the query itself:
for codes their cosine; for rotary schemes the mean of cos(a_query - a_key) over the pairs, which is the score of two
equal vectors; for ALiBi exp(bias), the factor on the weight before normalisation.

Left out: relative tables and learned codes, which show nothing before they are trained.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops import positions, relative, rotary

SIZE = (12, 18)
QUERY = (3, 5)
CHANNELS = 64
HEADS = 8
AT = QUERY[0] * SIZE[1] + QUERY[1]


def of_codes(table: Tensor) -> Tensor:
    """Cosine between the query's row and every row."""
    return F.cosine_similarity(table[AT], table, dim=-1)


def of_angles(angles: Tensor) -> Tensor:
    """Mean over the pairs, and over heads where there are any, of the cosine of the difference."""
    return (angles[..., AT : AT + 1, :] - angles).cos().mean(-1).reshape(-1, angles.shape[-2]).mean(0)


def of_bias(bias: Tensor) -> Tensor:
    """The factor that a bias puts on a weight before the softmax normalises."""
    return bias[AT].exp()


def panels() -> dict[str, Tensor]:
    """Title to similarities, `[n]`, in reading order."""
    small = (SIZE[0] // 2, SIZE[1] // 2)
    coarse = positions.sincos_mae(small, CHANNELS)[None]
    mixed = rotary.mixed_angles(rotary.mixed_frequencies(HEADS, CHANNELS), SIZE)
    blank = torch.ones(1, CHANNELS, *SIZE)
    generated = positions.conditional_positions(blank, torch.randn(CHANNELS, 1, 3, 3) / 3) - blank
    slopes = relative.alibi_slopes(HEADS)
    straight = relative.alibi_bias(slopes, SIZE)
    return {
        "sinusoidal, tokens as a sequence": of_codes(positions.sinusoidal(SIZE[0] * SIZE[1], CHANNELS)),
        "sin-cos: MAE, timm": of_codes(positions.sincos_mae(SIZE, CHANNELS)),
        "sin-cos: big_vision, simple ViT": of_codes(positions.sincos_big_vision(SIZE, CHANNELS)),
        "sin-cos: MoCo v3, timm reverse_coord": of_codes(positions.sincos_moco_v3(SIZE, CHANNELS)),
        f"MAE's table of {small[0]} x {small[1]}, resized": of_codes(
            positions.resize_table(coarse, small, SIZE, antialias=True)[0]
        ),
        "rotary, axial": of_angles(rotary.axial_angles(SIZE, CHANNELS)),
        "rotary, mixed, one head at the start": of_angles(mixed[2]),
        f"rotary, mixed, mean of {HEADS} heads": of_angles(mixed),
        "ALiBi, Euclidean, slope 1/4": of_bias(straight[1]),
        "ALiBi, Manhattan, slope 1/4": of_bias(relative.alibi_bias(slopes, SIZE, distance="manhattan")[1]),
        "ALiBi, Euclidean, slope 1/32": of_bias(straight[4]),
        "conditional, random 3 x 3, blank map": of_codes(generated[0].flatten(1).t()),
    }


def main() -> None:
    """Draw all panels on one colour scale."""
    torch.manual_seed(0)
    figure, axes = plt.subplots(3, 4, figsize=(13, 7.2), sharex=True, sharey=True, layout="constrained")
    for axis, (title, similarity) in zip(axes.flat, panels().items(), strict=True):
        values = similarity.reshape(SIZE).numpy()
        image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis")
        axis.contour(values, levels=[0.25, 0.5, 0.75], colors="white", linewidths=0.6)
        axis.plot(QUERY[1], QUERY[0], marker="x", color="red", markersize=7, markeredgewidth=1.5)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(0, SIZE[1], 5))
        axis.set_yticks(range(0, SIZE[0], 5))
    for axis in axes[-1]:
        axis.set_xlabel("x, column")
    for axis in axes[:, 0]:
        axis.set_ylabel("y, row")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01, extend="min")
    bar.set_label("similarity to the query (red cross); 1: the same, lines at 0.25, 0.5, 0.75")
    path = Path(__file__).parent / "positions.png"
    figure.savefig(path, dpi=90)
    print(path)


if __name__ == "__main__":
    main()
