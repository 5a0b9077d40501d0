"""The contract of every network here: an image goes in, a map comes out.

`[b, c, h, w] -> [b, channels, y, x]` with `.channels` and `.stride`, so that segmentation, control and every picture of
what a network sees take any encoder, a user's own included. `models/check.py` says what is wrong with one that does not
keep it. Two more methods are optional: `.maps(image)`, the stages from shallow to deep, and `.summary(image)`, one
vector per image; the functions below stand in for them where they are missing. The last stage is the encoder's map, but
where it has a third method, `.decode(maps)`, which makes the map of the stages: the way up of a U-Net.

Left out: a base class. Any module with the members below is an encoder.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.modes import evaluated


@runtime_checkable
class Encoder(Protocol):
    """An image `[b, c, h, w]` in, a map `[b, channels, y, x]` out, y = h / stride and x = w / stride.

    Where an edge is cut or padded the map may be one position smaller or larger. A size that an encoder cannot serve
    raises a ValueError that says which it can.
    """

    channels: int
    stride: int

    def __call__(self, image: Tensor) -> Tensor:
        """The map of the deepest features."""
        ...


def maps_of(encoder: Encoder, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
    """The encoder's stages, shallow to deep; its only map where it names none."""
    maps = getattr(encoder, "maps", None)
    return [encoder(image)] if maps is None else maps(image)


def map_and_maps(encoder: Encoder, image: Float[Tensor, "b c h w"]) -> tuple[Tensor, list[Tensor]]:
    """The encoder's map and its stages, in one pass."""
    maps = maps_of(encoder, image)
    decode = getattr(encoder, "decode", None)
    return (maps[-1] if decode is None else decode(maps)), maps


def map_widths(encoder: nn.Module, image_channels: int = 3) -> list[int]:
    """The channels of the encoder's stages, shallow to deep, found by showing it a small black image.

    The encoder's mode, random state and statistics are as before afterwards.

    Raises:
        ValueError: it takes none of the sizes tried.
    """
    like = next((p for p in encoder.parameters() if p.is_floating_point()), torch.zeros(()))
    side = getattr(encoder, "stride", 1)
    refused: ValueError | None = None
    with evaluated(encoder), torch.no_grad():
        for pixels in (side, 64, 2 * side, 224):
            image = torch.zeros(1, image_channels, pixels, pixels, dtype=like.dtype, device=like.device)
            try:
                return [one.shape[1] for one in maps_of(encoder, image)]  # type: ignore[arg-type]
            except ValueError as error:
                refused = error
    raise ValueError(f"the encoder takes none of the images tried: {refused}") from refused


def summary_of(encoder: Encoder, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels"]:
    """One vector per image: the encoder's own summary, or the mean over its map."""
    summary = getattr(encoder, "summary", None)
    return encoder(image).mean((2, 3)) if summary is None else summary(image)


def check_image(encoder: str, image: Tensor, channels: int) -> None:
    """Say in one sentence what is wrong with an image.

    Raises:
        ValueError: it is not `[b, channels, h, w]`.
    """
    if image.dim() != 4:
        raise ValueError(f"{encoder} takes images [b, c, h, w], got a tensor of shape {tuple(image.shape)}")
    if image.shape[1] != channels:
        raise ValueError(
            f"{encoder} was built for images of {channels} channels, got {image.shape[1]}:"
            f" give image_channels={image.shape[1]}"
        )
