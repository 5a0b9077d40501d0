"""Images and masks from files: pixels, or one sentence that names the file and says what is wrong with it.

An image becomes red, green and blue in [0, 255], upright as its camera says: grey and indexed ones are spread over
three channels, 16-bit grey is scaled (a pixel of 65535 is 255), transparency is dropped, CMYK is converted without a
colour profile. A mask keeps the numbers that it stores, which is why it must not be a colour picture, nor a JPEG.

Left out: colour profiles, several frames (the first one counts), 16 bits per channel of colour (Pillow keeps eight).
"""

import contextlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# What Pillow raises where a file is not what its head says.
BROKEN = (OSError, SyntaxError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, struct.error, zlib.error)
MASKS = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def read_image(path: str | Path) -> UInt8[Tensor, "3 h w"]:
    """Red, green and blue of an image file.

    Raises:
        ValueError: it is broken, cut short, far too large or no image; the sentence names it.
    """
    with _opened(path) as file:
        upright: Image.Image = file
        ImageOps.exif_transpose(upright, in_place=True)
        if upright.mode == "F":
            raise ValueError(f"{path} cannot be read: it holds fractions without a range, save it with 8 or 16 bits")
        if upright.mode.startswith("I"):
            pixels = _eight_bits(np.asarray(upright), path)
        else:
            if "transparency" in upright.info and upright.mode == "P":
                upright = upright.convert("RGBA")  # Pillow warns of such palettes otherwise
            pixels = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    # Copied by NumPy: PyTorch's threads, one team per reading thread, would fight for the cores.
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _eight_bits(grey: Integer[np.ndarray, "h w"], path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(
            f"{path} cannot be read: its pixels go from {grey.min()} to {grey.max()}, save it with 8 or 16 bits"
        )
    eight = ((grey.astype(np.int64) + 128) // 257).astype(np.uint8)
    return np.repeat(eight[..., None], 3, -1)


def read_mask(path: str | Path) -> Integer[np.ndarray, "h w"]:
    """The numbers that a mask stores, one per pixel: palette indices or grey values.

    Raises:
        ValueError: the file is broken, or is a picture and no mask; the sentence names it.
    """
    with _opened(path) as file:
        if file.format == "JPEG":
            raise ValueError(
                f"{path} is a JPEG, which changes the numbers of classes: save masks as indexed or grey PNG"
            )
        if file.mode not in MASKS:
            raise ValueError(
                f"{path} is a {file.mode} picture, and a mask has one number per pixel, its class: "
                "save it as indexed or grey PNG"
            )
        stored = np.array(file)
    return stored.astype(np.uint8) if stored.dtype == bool else stored


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width as stored, before it is turned upright; only the file's head is read."""
    with _opened(path) as file:
        return file.height, file.width


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file; whatever Pillow has against it, now or when its pixels are read, is one ValueError."""
    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise ValueError(f"{path} cannot be read: there is no such file") from None
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        raise ValueError(f"{path} cannot be read: it is {'empty (0 bytes), ' if empty else ''}no image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{path} cannot be read: it has more pixels than Pillow takes for an honest image "
            f"(twice PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS}): cut it into tiles"
        ) from error
    except BROKEN as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise  # said already
        raise ValueError(f"{path} cannot be read: {error or type(error).__name__}") from error
