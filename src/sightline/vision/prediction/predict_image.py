"""What the prediction of one image is: its entry in the list, its files, and its tile on the sheet.

Left out: reading and writing (`predict_files.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sightline.vision.augmentation.augment import normalise
from sightline.vision.augmentation.prepare import prepare
from sightline.vision.data.examples import Example
from sightline.vision.drawing.palette import palette
from sightline.vision.drawing.pictures import Picture, Tile, heat, mask_png, overlay, paint, png, scaled
from sightline.vision.prediction.predict import OVERLAP, class_probabilities, probabilities
from sightline.vision.prediction.runs import LoadedRun
from sightline.vision.prediction.why import least_certain, where_it_looks
from sightline.vision.training.memory import is_full
from sightline.vision.training.settings import preparation_of

BEST = 5  # classes that a classification names


@dataclass(frozen=True)
class Ways:
    """How an image is shown to the network, and whether the answer is explained; `Predict` says what each means."""

    window: int | None = None
    overlap: float = OVERLAP
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    batch: int = 1
    why: tuple[int, int] | None = None
    explain: bool = True


@dataclass(frozen=True)
class Answer:
    """What is to be written of one image."""

    row: dict[str, Any]  # its entry in predictions.json
    files: dict[str, bytes]  # PNG files by the folder that they belong to: "masks", "overlays", "why"
    tile: Tile


def segment_image(
    loaded: LoadedRun, network: nn.Module, image: UInt8[Tensor, "3 h w"], name: str, ways: Ways
) -> Answer:
    """Mask, overlay, shares of the classes, and what the least certain spot looked at.

    Raises:
        ValueError: the image does not fit into memory (the sentence says what would), or has no pixel `ways.why`.
    """
    shown = normalise(image, loaded.mean, loaded.std)[None].to(next(network.parameters()).device)

    def said_with(window: int | None) -> Tensor:
        return probabilities(
            network,
            shown,
            window=window,
            overlap=ways.overlap,
            scales=ways.scales,
            flip=ways.flip,
            batch=ways.batch,
            keep_on=None if window is None else "cpu",  # windows are for images too large for the device
        )[0]

    said = within_memory(said_with, ways.window, (image.shape[1], image.shape[2]), shown.device)
    sure, mask = said.max(0)
    counts = mask.flatten().bincount(minlength=len(loaded.classes)).tolist()
    order = sorted(range(len(counts)), key=lambda index: -counts[index])
    shares = {loaded.classes[index]: counts[index] / mask.numel() for index in order if counts[index]}
    pixels, classes, colours = as_picture(image), mask.cpu().numpy(), palette(loaded.classes)
    laid = overlay(pixels, classes, colours)
    files = {"masks": mask_png(classes, colours), "overlays": png(laid)}
    panels = [("image", pixels), ("overlay", laid), ("mask", paint(classes, colours))]
    row: dict[str, Any] = {folder.removesuffix("s"): f"{folder}/{name}.png" for folder in files}
    row |= {"confidence": float(sure.mean()), "shares": shares}
    words = [f"{in_words(dict(list(shares.items())[:4]))} of the pixels; {percent(row['confidence'])} sure on average."]
    if ways.explain:
        y, x = pixel = least_certain(said) if ways.why is None else ways.why
        look = where_it_looks(network, shown, pixel, window=ways.window)
        likely = likeliest(said[:, y, x], loaded.classes, 2)
        files["why"] = png(heat(pixels, look.weights.cpu().numpy(), pixel))
        panels.append(("why", heat(scaled(pixels), *_scaled_look(look.weights, pixel, scaled(pixels)))))
        row["why"] = {"row": y, "column": x, "said": likely, "shown": look.name, "picture": f"why/{name}.png"}
        spot = "least certain around" if ways.why is None else "asked at"
        words.append(f"Ring: {spot} row {y}, column {x}: {in_words(likely)}. Bright: {look.name}.")
    return Answer(row, files, Tile(name, [(title, scaled(picture)) for title, picture in panels], words))


def classify_image(
    loaded: LoadedRun, network: nn.Module, image: UInt8[Tensor, "3 h w"], name: str, ways: Ways
) -> Answer:
    """The likeliest classes, and what the answer looked at, of the image as the network is shown it."""
    prepared = prepared_to_classify(image, loaded)
    shown = normalise(prepared, loaded.mean, loaded.std)[None].to(next(network.parameters()).device)
    likely = likeliest(class_probabilities(network, shown, flip=ways.flip)[0], loaded.classes, BEST)
    row: dict[str, Any] = {"confidence": next(iter(likely.values())), "top": likely}
    pixels, files = as_picture(prepared), {}
    panels, words = [("", pixels)], [f"{name}: {percent(share)}" for name, share in list(likely.items())[:3]]
    if ways.explain:
        look = where_it_looks(network, shown)
        drawn = heat(pixels, look.weights.cpu().numpy())
        files["why"], row["why"] = png(drawn), {"shown": look.name, "picture": f"why/{name}.png"}
        panels.append(("why", drawn))  # the sheet's title says what is bright, once
    return Answer(row, files, Tile(name, [(title, scaled(picture)) for title, picture in panels], words))


def prepared_to_classify(image: UInt8[Tensor, "3 h w"], loaded: LoadedRun) -> UInt8[Tensor, "3 y x"]:
    """The image as it is evaluated in training."""
    preparation = preparation_of("classify", loaded.size, 1, loaded.ignore)
    return prepare(Example(image, torch.tensor(0)), preparation).image


def within_memory(
    said_with: Callable[[int | None], Tensor], window: int | None, size: tuple[int, int], device: torch.device
) -> Tensor:
    """`said_with(window)`; where that runs out of memory, smaller windows are tried to be able to say what fits.

    Raises:
        ValueError: it does not fit; the sentence names a window that does, if any does.
    """
    try:
        return said_with(window)
    except RuntimeError as error:  # PyTorch's OutOfMemoryError is one
        if not is_full(error):
            raise
    whole = "in one piece" if window is None else f"by windows of {window} pixels"
    asked = f"an image of {size[0]} x {size[1]} pixels does not fit into the memory of {device} {whole}"
    smaller = 1 << (max(2, min(window or max(size), max(size))) - 1).bit_length() - 1
    while smaller >= 32:
        try:
            said_with(smaller)
        except RuntimeError as error:
            if not is_full(error):
                raise
            smaller //= 2
        else:
            raise ValueError(f"{asked}: --window {smaller} does")
    raise ValueError(f"{asked}, and neither do windows of 32: use another device (--device cpu)")


def likeliest(said: Float[Tensor, "k"], classes: Sequence[str], count: int) -> dict[str, float]:
    """The likeliest classes with their probabilities, the likeliest first."""
    values, indices = said.topk(min(count, len(classes)))
    return {classes[index]: value for index, value in zip(indices.tolist(), values.tolist(), strict=True)}


def in_words(shares: dict[str, float]) -> str:
    """Names with percentages: `road 51 %, car 47 %`."""
    return ", ".join(f"{name} {percent(share)}" for name, share in shares.items())


def percent(share: float) -> str:
    """A share in words; never 0 % or 100 % of what is not none or all."""
    if 0 < share < 0.0095 or 0.995 < share < 1:
        return f"{min(max(100 * share, 0.1), 99.9):.1f}\u00a0%"
    return f"{100 * share:.0f}\u00a0%"


def as_picture(image: UInt8[Tensor, "3 h w"]) -> Picture:
    """Rows, columns, colours."""
    return image.permute(1, 2, 0).cpu().numpy()


def _scaled_look(weights: Tensor, pixel: tuple[int, int], picture: Picture) -> tuple[Any, tuple[int, int]]:
    """Weights and ring at the size of the sheet's picture, so that a ring on a large image stays visible."""
    size = picture.shape[:2]
    grown = torch.nn.functional.interpolate(weights[None, None], size, mode="area")[0, 0].cpu().numpy()
    y, x = (int((at + 0.5) * n / m) for at, n, m in zip(pixel, size, weights.shape, strict=True))
    return grown, (y, x)
