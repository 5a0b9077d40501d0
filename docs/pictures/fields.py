"""The four fields of one neuron, on a photograph: `python docs/pictures/fields.py` writes fields.png beside this file.

Structural, value-aware, effective and possible (docs/seeing.md). Networks of random weights, one neuron in the middle.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sightline.layers.criss_cross import CrissCross
from sightline.layers.non_local import NonLocal
from sightline.seeing.effective import heats, possible
from sightline.seeing.receptive import receptive_fields
from sightline.studies.field_picture import photograph

SIDE = 63
GREY, ORANGE = np.array([0.299, 0.587, 0.114]), np.array([1.0, 0.66, 0.1])
MIDDLE = (SIDE // 2, SIDE // 2)


def stack(layers: int, dilation: int = 1) -> nn.Sequential:
    """3 x 3 convolutions of 8 channels with ReLUs."""
    found: list[nn.Module] = []
    for i in range(layers):
        found += [nn.Conv2d(8 if i else 3, 8, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return nn.Sequential(*found)


def pruned() -> nn.Sequential:
    """A stack whose kernels lost their upper and left taps: weights that are zero."""
    network = stack(10)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d):
                layer.weight[..., 0, :] = 0
                layer.weight[..., 0] = 0
    return network


def panels(image: Tensor) -> list[tuple[str, str, Tensor, Tensor | None]]:
    """Title, words, the set of pixels and the heat of each panel."""
    torch.manual_seed(0)
    size = (SIDE, SIDE)
    holes, cross, deep = stack(3, 4), nn.Sequential(stack(2), CrissCross(8)), stack(20)
    block = nn.Sequential(stack(4), NonLocal(8))
    fields = [receptive_fields(n, size).set("", MIDDLE) for n in (holes, cross, deep, block)]
    zeros = pruned()
    value = receptive_fields(zeros, image, values=True).set("", MIDDLE)
    effect = [heats(n, image, "", [MIDDLE], draws=16)[0] for n in (deep, block)]
    redrawn = possible(block, image, "", [MIDDLE], redraws=8)[0]
    return [
        ("Structural", "dilation 4, three layers: holes", fields[0], None),
        ("Structural", "two layers, criss-cross attention", fields[1], None),
        ("Value-aware", "ten layers, upper, left taps zero", value, None),
        ("Effective", "twenty layers: frame can, heat does", fields[2], effect[0]),
        ("Effective", "a new non-local block: no gradient yet", fields[3], effect[1]),
        ("Possible", "the same block, weights drawn anew", fields[3], redrawn),
    ]


def drawn(photo: np.ndarray, seen: np.ndarray, heat: np.ndarray | None) -> np.ndarray:
    """The photograph in colour where it is seen, dark and grey elsewhere, the heat over it."""
    grey = (photo @ GREY)[..., None].repeat(3, 2)
    image = np.where(seen[..., None], photo if heat is None else 0.55 * grey, 0.22 * grey)
    if heat is None:
        return image
    share = (heat / heat.max())[..., None] ** 0.3  # so that faint effects are seen at all
    return image * (1 - 0.85 * share) + ORANGE * 0.85 * share


def picture() -> Path:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    whole = photograph(96)
    top, left = (whole.shape[0] - SIDE) // 2, (whole.shape[1] - SIDE) // 2
    photo = whole[top : top + SIDE, left : left + SIDE].astype(np.float64) / 255
    image = torch.from_numpy(photo).permute(2, 0, 1)[None].float()
    figure, axes = pyplot.subplots(2, 3, figsize=(9.6, 6.6), layout="constrained")
    for place, (title, words, seen, heat) in zip(axes.flat, panels(image), strict=True):
        place.imshow(
            drawn(photo, seen.numpy(), None if heat is None else heat.double().numpy()), interpolation="nearest"
        )
        place.contour(seen.numpy(), [0.5], colors="white", linewidths=0.8)
        place.plot(MIDDLE[1], MIDDLE[0], "+", color="white", markersize=9, markeredgewidth=1.6)
        place.set_title(f"{title}\n", fontsize=11, fontweight="bold", loc="left")
        place.text(0, 1.02, words, transform=place.transAxes, fontsize=8.5)
        place.set_axis_off()
    path = Path(__file__).with_suffix(".png")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


if __name__ == "__main__":
    print(picture())
