"""What do the channels of a layer respond to? Three answers side by side, for any network: the input that a channel
would like best (`optimised.py`), what in the given image made it respond (`deconvnet.py`), and the patches of many
images to which it responds most (`top_patches.py`).

An optimised input shows what a channel can be driven by, not what it is for; the patches show what it met. Both
belong together (Olah, Mordvintsev & Schubert, 2017, https://distill.pub/2017/feature-visualization).

Left out: what a channel does to the rest of the network.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.layers.modes import evaluated
from sightline.seeing.deconvnet import Prepare, deconvnet
from sightline.seeing.optimised import optimised_input
from sightline.seeing.running import check_unit, responses_of
from sightline.seeing.top_patches import Named, Patch, Sees, fields_of, fitted, run_name, top_patches

Colours = UInt8[np.ndarray, "h w 3"]
TILE, GAP = 240, 6  # pixels of a drawn picture, and between patches
T = TypeVar("T")


@dataclass(frozen=True)
class Feature:
    """What one channel responds to; a part is None where it was not asked or could not be made."""

    channel: int
    optimised: Patch | None
    """What the unit in the middle of the layer's map would like best, within what it sees."""
    here: Patch | None
    """What it responds to most in the given image."""
    deconvnet: Float[Tensor, "c h w"] | None
    """What in that patch made it respond, over the whole image; signed."""
    patches: tuple[Patch, ...]
    """From the many images, the strongest first."""


@dataclass(frozen=True)
class Features:
    """The features of some channels of one layer."""

    layer: str
    channels: tuple[Feature, ...]
    missing: tuple[str, ...] = ()
    """A sentence for every part that could not be made and every image that was left out."""


def features(
    network: nn.Module,
    layer: str,
    channels: Sequence[int] | None = None,
    *,
    image: Float[Tensor, "c h w"] | None = None,
    images: Iterable[Named | str | Path] | None = None,
    size: tuple[int, int] | None = None,
    count: int = 6,
    patches: int = 9,
    steps: int = 48,
    seed: int = 0,
    prepare: Prepare | None = None,
    fields: Sees | None = None,
) -> Features:
    """What the channels of a layer respond to.

    Args:
        network: any module that takes `[b, c, h, w]`; it is left as it was.
        layer: the name of a module of the network.
        channels: which; None: the `count` that respond most strongly somewhere in the image.
        image: in [0, 1]; without it there is no deconvnet.
        images: names with images, or paths of files; without them there are no top patches.
        size: to which every image is brought, (h, w), and that of the optimised inputs; None: that of the image.
        count: of channels, if none are given.
        patches: of `images` for each channel.
        steps: of optimisation; 0: none is made; many drive every pixel to black, white or a pure colour.
        seed: of the optimisation.
        prepare: applied to a batch of images before the network, such as its normalisation.
        fields: receptive fields of the network at this size; None: they are found.

    Raises:
        ValueError: the layer or a channel does not exist, or neither an image nor what it would have told is given.
    """
    if image is None and (channels is None or size is None):
        raise ValueError("features were asked without an image: give one, or both channels and a size")
    if image is not None:
        size = size if size is not None else (image.shape[-2], image.shape[-1])
        image = fitted(image, size)
    assert size is not None
    probe = image if image is not None else torch.full((3, *size), 0.5)
    response = _response(network, probe, layer, prepare)
    chosen = list(channels) if channels is not None else _strongest(response, count)
    check_unit(layer, response.shape, chosen, None)
    missing: list[str] = []

    def attempt(what: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except (ValueError, RuntimeError) as problem:  # RuntimeError: PyTorch's word for what it cannot differentiate
            missing.append(f"{what} of {layer!r} could not be made: {problem}")
            return otherwise

    def best_patches(of: Iterable[Named | str | Path], most: int) -> Sequence[Patch]:
        return top_patches(
            network, of, layer, chosen, most,
            size=size, inputs=len(probe), prepare=prepare, fields=sees, complain=missing.append,
        )  # fmt: skip

    sees = (
        fields
        if fields is not None
        else attempt(
            "the receptive fields",
            lambda: fields_of(network, probe[None] if prepare is None else prepare(probe[None])),
            None,
        )
    )
    liked: Sequence[Patch | None] = [None] * len(chosen)
    here, back = liked, cast(Sequence[Tensor | None], liked)
    top: Sequence[Patch] = []
    if steps > 0:
        unit = (response.shape[1] // 2, response.shape[2] // 2)
        liked = attempt(
            "the optimised inputs",
            lambda: _liked(network, layer, chosen, probe, unit, steps, seed, prepare, sees),
            liked,
        )
    if image is not None:
        given = image
        back = attempt(
            "the deconvnets", lambda: deconvnet(network, given, layer, chosen, prepare=prepare).unbind(), back
        )
        here = attempt("the strongest places", lambda: best_patches([("image", given)], 1), here)
    if images is not None:
        many = images
        top = attempt("the top patches", lambda: best_patches(many, patches), top)
    parts = zip(chosen, liked, here, back, strict=True)
    found = [Feature(a, b, c, d, tuple(patch for patch in top if patch.channel == a)) for a, b, c, d in parts]
    return Features(layer, tuple(found), tuple(missing))


def _liked(
    network: nn.Module,
    layer: str,
    channels: Sequence[int],
    probe: Float[Tensor, "c h w"],
    unit: tuple[int, int],
    steps: int,
    seed: int,
    prepare: Prepare | None,
    fields: Sees | None,
) -> list[Patch]:
    """The optimised inputs of one position's units, each cut to what the unit sees."""
    size = (probe.shape[-2], probe.shape[-1])
    images = optimised_input(
        network, layer, channels, size=size, position=unit, inputs=len(probe), steps=steps, seed=seed, prepare=prepare
    )
    box = None
    if fields is not None:
        box = fields.hull(
            run_name(network, layer, images[:1] if prepare is None else prepare(images[:1]), fields), unit
        )
    top, bottom, left, right = box or (0, size[0] - 1, 0, size[1] - 1)
    found = []
    for channel, image in zip(channels, images, strict=True):
        response = float(_response(network, image, layer, prepare)[channel, unit[0], unit[1]])
        crop = image[:, top : bottom + 1, left : right + 1].cpu()
        found.append(Patch("optimised", channel, unit, response, (top, bottom, left, right), crop))
    return found


def strongest_channels(
    network: nn.Module, image: Float[Tensor, "c h w"], layer: str, count: int = 6, *, prepare: Prepare | None = None
) -> list[int]:
    """The channels with the largest response at any position of the image, the strongest first."""
    return _strongest(_response(network, image, layer, prepare), count)


def _strongest(response: Float[Tensor, "k y x"], count: int) -> list[int]:
    return response.flatten(1).amax(1).sort(descending=True, stable=True).indices[:count].tolist()


def _response(
    network: nn.Module, image: Float[Tensor, "c h w"], layer: str, prepare: Prepare | None
) -> Float[Tensor, "k y x"]:
    with torch.no_grad(), evaluated(network):
        batch = image[None].to(next(network.parameters(), image), copy=True)
        return responses_of(network, layer, batch if prepare is None else prepare(batch))[0]


def draw(found: Features) -> bytes:
    """All of it as one PNG file: a row for each channel, a column for each answer that there is."""
    from matplotlib.figure import Figure

    columns = [
        (title, panel)
        for title, panel in (
            ("it would like best", _optimised),
            ("strongest here", _here),
            ("what made it respond", _made),
            ("its strongest patches", _mosaic),
        )
        if any(panel(one) is not None for one in found.channels)
    ]
    rows, width = max(1, len(found.channels)), max(1, len(columns))
    shown = [panel(one) for one in found.channels for _, panel in columns]
    tall = max((min(p.shape[0] / p.shape[1], 2.0) for p in shown if p is not None), default=1.0)
    figure = Figure(figsize=(2.5 * width + 0.5, (2.5 * tall + 0.3) * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, width, squeeze=False)
    for row, one in zip(grid, found.channels, strict=False):
        for axes, (title, panel) in zip(row, columns, strict=True):
            picture = panel(one)
            axes.set(xticks=[], yticks=[])
            if picture is None:
                axes.set_axis_off()
                continue
            axes.imshow(picture, interpolation="nearest")
            axes.spines[:].set_color("0.7")
            if one is found.channels[0]:
                axes.set_title(title, fontsize=12)
            if axes is row[0]:
                axes.set_ylabel(f"channel {one.channel}", fontsize=12)
            words = _words(one, panel)
            if words:
                axes.set_xlabel(words, fontsize=10)
    for axes in [axes for row in grid[len(found.channels) :] for axes in row]:
        axes.set_axis_off()
    named = f"layer {found.layer}" if found.layer else "the output"
    figure.suptitle(f"What the channels of {named} respond to", fontsize=13)
    file = BytesIO()
    figure.savefig(file, dpi=110, metadata={"Software": None})
    return file.getvalue()


def _words(one: Feature, panel: Callable[[Feature], Colours | None]) -> str:
    patch = one.optimised if panel is _optimised else one.here if panel is _here else None
    if panel is _mosaic:
        return f"{one.patches[0].response:.3g} to {one.patches[-1].response:.3g}"
    return "" if patch is None else f"responds with {patch.response:.3g}"


def _optimised(one: Feature) -> Colours | None:
    return None if one.optimised is None else picture(one.optimised.crop)


def _here(one: Feature) -> Colours | None:
    return None if one.here is None else picture(one.here.crop)


def _made(one: Feature) -> Colours | None:
    """The deconvnet within what the unit sees, zero in grey, on a scale of its own."""
    if one.deconvnet is None:
        return None
    signal = one.deconvnet
    if one.here is not None:
        top, bottom, left, right = one.here.box
        signal = signal[:, top : bottom + 1, left : right + 1]
        high, wide = (a - b for a, b in zip(one.here.crop.shape[1:], signal.shape[1:], strict=True))  # past the image
        signal = F.pad(signal, (wide, 0) if left == 0 else (0, wide))
        signal = F.pad(signal, (0, 0, high, 0) if top == 0 else (0, 0, 0, high))
    largest = signal.abs().amax().clamp(min=torch.finfo(signal.dtype).tiny)
    return picture(0.5 + 0.5 * signal / largest)


def _mosaic(one: Feature) -> Colours | None:
    """The patches three and three, in reading order, each as large as its place allows."""
    from PIL import Image

    if not one.patches:
        return None
    across = min(3, len(one.patches))
    cell = TILE // across
    down = -(-len(one.patches) // across)
    sheet = Image.new("RGB", (across * (cell + GAP) - GAP, down * (cell + GAP) - GAP), "white")
    for place, patch in enumerate(one.patches):
        small = Image.fromarray(picture(patch.crop))
        scale = cell / max(small.size)
        extent = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(extent, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
        y, x = divmod(place, across)
        sheet.paste(small, (x * (cell + GAP) + (cell - extent[0]) // 2, y * (cell + GAP) + (cell - extent[1]) // 2))
    return np.asarray(sheet)


def picture(image: Float[Tensor, "c h w"]) -> Colours:
    """An image in [0, 1] in colour; in grey, the mean, if it does not have three channels."""
    pixels = image.detach().float().cpu().clamp(0, 1)
    pixels = pixels if len(pixels) == 3 else pixels.mean(0, keepdim=True).expand(3, -1, -1)
    return (255 * pixels).round().to(torch.uint8).permute(1, 2, 0).numpy()
