"""Kernels, position tables and features as pictures for the page.

Left out: drawing them; `kernel_pictures.py` and `features.py` do.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sightline.seeing.features import Features, draw, features
from sightline.seeing.kernel_pictures import draw_filters, draw_similarity, draw_waves
from sightline.seeing.kernels import first_kernels, waves
from sightline.seeing.position_tables import position_tables, similarity
from sightline.seeing.receptive import Fields
from sightline.seeing.report.contents import Missing, Picture
from sightline.seeing.report.effect import plain_name
from sightline.seeing.report.sentences import TIMES

MOST_FILTERS = 256
NOISE = "Weights that were not trained show their initialisation here, which is noise."
ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def kernels_of(network: nn.Module, image: Float[Tensor, "1 c h w"], trained: bool) -> tuple[Picture, ...] | Missing:
    """The filters that read the image, their waves, and what tables of positions hold."""
    note = "" if trained else f" {NOISE}"
    found: list[Picture] = []
    refused = ""
    try:
        kernels = first_kernels(network, image)
        name = kernels.layer or "the network"
        shown = kernels.filters[:MOST_FILTERS].float()
        count, channels, h, w = kernels.filters.shape
        of = f"{count} filters of {h} {TIMES} {w}" + (
            f", the first {MOST_FILTERS} of them" if count > MOST_FILTERS else ""
        )
        words = f"{of}, {channels} channels, on one common scale.{note}"
        alt = f"Grid of {len(shown)} filters"
        found.append(Picture("kernels", f"First layer: {name}", words, draw_filters(shown, f"{name}: {of}"), alt))
        if h > 1 and w > 1:
            waved = draw_waves(waves(kernels.filters.float()), f"Waves in the filters of {name}")
            words = "Direction and frequency of each filter's wave; a larger dot is more oriented."
            found.append(
                Picture("waves", "Orientation and frequency", words, waved, "Filters by direction and frequency")
            )
    except ValueError as error:
        refused = str(error)
    for name, table in list(position_tables(network).items())[:2]:
        try:
            drawn = draw_similarity(similarity(table), f"Positions of {name}")
        except ValueError:
            continue  # a table that fits no grid
        file = "positions-" + "".join(letter if letter.isalnum() else "-" for letter in name)
        words = f"How alike each position's vector is to all others, as stored.{note}"
        found.append(Picture(file, f"Table of positions: {name}", words, drawn, "A tile of cosines for each position"))
    return tuple(found) if found else Missing(f"There are no kernels to show: {refused or 'no layer reads the image'}.")


def files_in(folder: Path) -> list[Path]:
    """Images in a folder and below, in order.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of images {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not found:
        raise ValueError(f"there is no image in {folder}: images end in {', '.join(ENDINGS)}")
    return found


def features_of(
    network: nn.Module,
    pixels: UInt8[np.ndarray, "h w 3"],
    layer: str,
    fields: Fields,
    *,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    files: Sequence[Path],
    optimise: bool,
) -> tuple[Picture, ...] | Missing:
    """What the channels of the followed layer respond to, by as many ways as were asked for."""
    if not optimise and not files:
        return Missing(
            "No feature was asked for: --features makes inputs that excite this layer's channels, --images FOLDER looks"
            " for their favourite patches."
        )
    if channels != 3:
        return Missing(f"Features are drawn for images of three channels; this network takes {channels}.")
    like = next((one for one in network.parameters() if one.is_floating_point()), torch.zeros(()))
    shift = torch.tensor(mean, dtype=like.dtype, device=like.device)[:, None, None]
    scale = torch.tensor(std, dtype=like.dtype, device=like.device)[:, None, None]
    image = (torch.from_numpy(pixels.copy()).permute(2, 0, 1).to(like) / 255).contiguous()
    found: Features = features(
        network,
        plain_name(layer),
        image=image,
        images=files or None,
        steps=128 if optimise else 0,
        prepare=lambda batch: (batch - shift) / scale,
        fields=fields if layer == plain_name(layer) else None,
    )
    words = " ".join(found.missing[:3])
    title = f"Channels of {layer or 'the output'}"
    return (Picture("features", title, words, draw(found), "For each channel what excites it"),)
