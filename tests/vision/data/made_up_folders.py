"""Images and masks written to disk, for the tests of what reads them."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, size: tuple[int, int] = (5, 7), **options) -> np.ndarray:
    """A random picture of this height and width; the same for the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(map(ord, path.stem))).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def write_mask(path: Path, values, size: tuple[int, int] = (5, 7), mode: str = "L") -> np.ndarray:
    """A mask that has these values in turn, as a grey, an indexed or a 16-bit file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.resize(np.array(values, np.uint16 if mode == "I;16" else np.uint8), size)
    image = Image.fromarray(stored)
    if mode == "P":
        image.putpalette(bytes(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8)))
        assert image.mode == "P"
    image.save(path)
    return stored
