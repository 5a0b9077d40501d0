"""A colour for every class: the published ones where there are any, otherwise colours that eyes keep apart.

The first eight are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), chosen for all kinds of colour vision.
Each further colour is the one farthest from all before it in Oklab (Björn Ottosson, 2020,
https://bottosson.github.io/posts/oklab/), so that a class keeps its colour however many come after it. Pascal VOC's
and Cityscapes' own palettes serve runs that have their classes.

Left out: palettes of other data sets, and colours that differ for more than eight classes to every kind of colour
vision: there are none.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

OKABE_ITO = (
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
UNLABELLED = (255, 255, 255)  # what does not count is white; no class is
APART = 256  # so many colours are sought by distance; beyond them they differ, and no more

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}


def palette(classes: Sequence[str]) -> UInt8[np.ndarray, "k 3"]:
    """Red, green and blue of every class, in [0, 255]; VOC's or Cityscapes' own where the classes are theirs."""
    names = [name.lower().replace("_", " ").strip() for name in classes]
    if names == list(VOC):
        return np.array([voc_colour(index) for index in range(len(names))], np.uint8)
    if names == list(CITYSCAPES):
        return np.array(list(CITYSCAPES.values()), np.uint8)
    return colours(len(names))


def voc_colour(index: int) -> tuple[int, int, int]:
    """Pascal VOC's colour of a class: the bits of its index dealt out to the three channels, highest bits first."""
    rgb = [0, 0, 0]
    for bit in range(24):
        rgb[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return rgb[0], rgb[1], rgb[2]


def colours(count: int) -> UInt8[np.ndarray, "k 3"]:
    """`count` different colours; the first ones are the same for every count."""
    found = [tuple(colour) for colour in _far_apart()[:count].tolist()]
    known, index = {*found, UNLABELLED}, 0
    while len(found) < count:
        index += 1
        number = index * 0x9E3779 % 2**24  # odd, so that no number comes twice; large, so that neighbours differ
        colour = (number >> 16, number >> 8 & 255, number & 255)
        if colour not in known:
            found.append(colour)
    return np.array(found, np.uint8).reshape(-1, 3)


@functools.cache
def _far_apart() -> UInt8[np.ndarray, "n 3"]:
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lightness = oklab(candidates)[:, 0]
    candidates = candidates[(lightness > 0.35) & (lightness < 0.95)]  # the darkest and palest look alike on a screen
    seen = oklab(candidates)
    chosen = list(OKABE_ITO)
    taken = oklab(np.array([*OKABE_ITO, UNLABELLED, (128, 128, 128)], np.uint8))  # grey is for what is not in question
    nearest = np.linalg.norm(seen[:, None] - taken, axis=-1).min(1)
    while len(chosen) < APART:
        best = int(nearest.argmax())
        chosen.append(tuple(candidates[best].tolist()))
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[best], axis=-1))
    return np.array(chosen, np.uint8)


def oklab(rgb: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Lightness and two colour axes, in which equal distances look about equal."""
    share = rgb / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    cones = light @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
