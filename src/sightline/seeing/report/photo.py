"""The user's image, as the page shows it and as the network takes it.

The image covers the size that was asked for and is cut around its middle, so that nothing is stretched.

Left out: several images, and anything but eight bits per colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sightline.layers.modes import evaluated

SIDES = (8, 16, 32, 64, 96, 128, 224, 256, 384, 518)  # tried, to say which size a network takes


@dataclass(frozen=True)
class Photo:
    """The image as shown, its file's height and width, and its name."""

    pixels: UInt8[np.ndarray, "h w 3"]
    original: tuple[int, int]
    name: str


def read_photo(path: Path, size: tuple[int, int]) -> Photo:
    """The image of a file at a size (h, w).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image, or the size has no pixel.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if min(size) < 1:
        raise ValueError(f"an image has one pixel at least on every side, got --size {size[0]} {size[1]}")
    if path.is_dir() or not path.exists():
        raise FileNotFoundError(f"there is no image file {path}")
    try:
        with Image.open(path) as file:
            turned = ImageOps.exif_transpose(file)
            if turned.mode.startswith("I"):  # 16 bits of grey, of which Pillow would cut off all above 255
                turned = Image.fromarray((np.clip(np.asarray(turned), 0, 65535) // 257).astype(np.uint8))
            upright = turned.convert("RGB")
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no image that can be read: give a PNG or JPEG file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from None
    fitted = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BICUBIC)
    return Photo(np.asarray(fitted), (upright.height, upright.width), path.name)


def sample_photo(size: tuple[int, int]) -> Photo:
    """scikit-learn's photograph of a pagoda, which needs no download."""
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_image

    whole = Image.fromarray(load_sample_image("china.jpg"))
    fitted = ImageOps.fit(whole, (size[1], size[0]), Image.Resampling.BICUBIC)
    return Photo(np.asarray(fitted), (whole.height, whole.width), "china.jpg (scikit-learn's sample photograph)")


def image_channels(network: nn.Module) -> int:
    """Channels of the image that the first convolution takes; 3 where there is none."""
    declared = getattr(network, "image_channels", None)
    if isinstance(declared, int):
        return declared
    first = next((one for one in network.modules() if isinstance(one, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def as_input(
    pixels: UInt8[np.ndarray, "h w 3"], network: nn.Module, mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "1 c h w"]:
    """The image as the network takes it: normalised, grey for one channel, with zeros in any after the third.

    In the precision and on the device of the network's weights.
    """
    rgb = (torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255 - torch.tensor(mean)[:, None, None]) / (
        torch.tensor(std)[:, None, None]
    )
    channels = image_channels(network)
    if channels < 3:
        rgb = rgb.mean(0, keepdim=True).expand(channels, -1, -1)
    elif channels > 3:
        rgb = torch.cat([rgb, rgb.new_zeros(channels - 3, *rgb.shape[1:])])
    like = next((one for one in network.parameters() if one.is_floating_point()), rgb)
    return rgb[None].to(dtype=like.dtype, device=like.device)


def check_takes(network: nn.Module, image: Float[Tensor, "1 c h w"], name: str) -> None:
    """Show the image to the network once.

    Raises:
        ValueError: it does not take it; the sentence names a size that it takes, where there is one.
    """
    refused = _refusal(network, image)
    if refused is None:
        return
    h, w = image.shape[-2:]
    taken = [side for side in SIDES if _refusal(network, image.new_zeros(1, image.shape[1], side, side)) is None]
    if taken:
        reason = "is too small for it" if min(taken) > min(h, w) else "does not fit it"
        side = min(taken, key=lambda side: (abs(side - (h + w) / 2), -side))
        raise ValueError(
            f"{name} was shown {h} x {w} pixels, which {reason} ({refused}): it takes {side} x {side}, ask for"
            f" --size {side} {side}"
        )
    raise ValueError(
        f"{name} takes no image: shown one of shape {tuple(image.shape)} it said '{refused}'; give a network that takes"
        " [b, c, h, w]"
    )


def _refusal(network: nn.Module, image: Tensor) -> str | None:
    try:
        with evaluated(network), torch.no_grad():
            network(image)
    except Exception as error:  # whatever the network raises is its way of saying no
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
