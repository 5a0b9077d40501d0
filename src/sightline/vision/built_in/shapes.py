"""Drawn shapes with exact masks: images to segment that need no download, of any size.

Each pixel's centre is inside a shape or not, by an inequality; the same answer paints the image and the mask, so they
agree to the pixel, without soft edges. Later shapes lie on earlier ones. Colours and textures are drawn for every shape
anew and say nothing about its class: only its outline does.

    python -m sightline.vision.built_in.shapes OUT --train 200 --val 50

writes them as a folder of images and masks. The same (seed, split, index) gives the same example in every process;
other versions of NumPy may draw others.

Left out: soft edges, perspective, shadows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Bool, Float
from PIL import Image

from sightline.run.files import said
from sightline.vision.data.examples import IGNORE, Example, random_of, size_of, within

KINDS = ("disc", "square", "triangle", "ring", "cross", "star")
LEAST = 8  # pixels: on a smaller side no outline can be told from another
HOLE = 0.55  # radius of a ring's hole over the ring's
ARM = 0.24  # half the width of a cross's arm over its radius


@dataclass(frozen=True)
class Shape:
    """One shape of a scene: its outline fits into a circle. Pixel (y, x) has its centre at (y + 0.5, x + 0.5)."""

    kind: str  # one of KINDS
    y: float  # the circle's centre, in pixels from the upper edge
    x: float  # and from the left one
    radius: float  # of the circle, in pixels
    angle: float  # radians, turned from x towards y


def inside(shape: Shape, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Which pixels of an image of this size have their centre inside the shape."""
    y = (np.arange(size[0]) + 0.5 - shape.y)[:, None] / shape.radius
    x = (np.arange(size[1]) + 0.5 - shape.x)[None, :] / shape.radius
    u = x * math.cos(shape.angle) + y * math.sin(shape.angle)
    v = y * math.cos(shape.angle) - x * math.sin(shape.angle)
    match shape.kind:
        case "disc":
            return u**2 + v**2 <= 1
        case "square":
            return np.maximum(abs(u), abs(v)) <= math.sqrt(0.5)
        case "triangle":
            return _beyond(u, v, 3, math.pi / 3, 0.5) == 0
        case "ring":
            return (u**2 + v**2 <= 1) & (u**2 + v**2 >= HOLE**2)
        case "cross":
            return (np.minimum(abs(u), abs(v)) <= ARM) & (np.maximum(abs(u), abs(v)) <= math.sqrt(1 - ARM**2))
        case "star":  # five lines, each through two of the points: a star is beyond at most one of them
            return _beyond(u, v, 5, 0.0, math.cos(math.tau / 5)) <= 1
    raise ValueError(f"a shape is one of {', '.join(KINDS)}, got {shape.kind!r}")


def _beyond(u: np.ndarray, v: np.ndarray, lines: int, first: float, distance: float) -> np.ndarray:
    """Beyond how many lines each point lies: all this far from the centre, the first in the direction `first`."""
    angles = [first + math.tau * line / lines for line in range(lines)]
    return np.sum([u * math.cos(angle) + v * math.sin(angle) > distance for angle in angles], 0)


@dataclass(frozen=True)
class Shapes:
    """Drawn scenes of two to five shapes on a textured ground, some partly hidden or cut off by the border."""

    count: int = 200
    size: tuple[int, int] = (64, 64)  # height and width in pixels
    seed: int = 0
    split: str = "train"  # "train", "val" or "test": different scenes

    task: ClassVar[Literal["segment"]] = "segment"
    classes: ClassVar[tuple[str, ...]] = ("background", *KINDS)
    ignore: ClassVar[int] = IGNORE  # no pixel bears it: everything is labelled

    def __post_init__(self) -> None:
        size_of(self.size, LEAST)
        random_of(self.seed, self.split, 0)
        if self.count < 1:
            raise ValueError(f"at least one scene must be drawn, got count={self.count}")

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> tuple[Shape, ...]:
        """What stands in scene `index`, from the back to the front."""
        return _draw_scene(random_of(self.seed, self.split, within(index, self.count)), size_of(self.size, LEAST))

    def __getitem__(self, index: int) -> Example:
        size = size_of(self.size, LEAST)
        random = random_of(self.seed, self.split, within(index, self.count))
        scene = _draw_scene(random, size)
        colours = _draw_colours(random, len(scene) + 1)
        image = _draw_texture(random, size, colours[0], *np.ogrid[: size[0], : size[1]])
        mask = np.zeros(size, np.int64)
        for shape, colour in zip(scene, colours[1:], strict=True):
            where = inside(shape, size)
            image[where] = _draw_texture(random, size, colour, *where.nonzero())
            mask[where] = self.classes.index(shape.kind)
        image = (image + random.uniform(-8, 8, image.shape)).clip(0, 255).round().astype(np.uint8)
        return Example(torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(mask))

    def name(self, index: int) -> str:
        """A made-up name that tells how to draw the scene again."""
        return f"shapes-{self.split}-{self.seed}-{within(index, self.count):05d}"


def _draw_scene(random: np.random.Generator, size: tuple[int, int]) -> tuple[Shape, ...]:
    side = min(size)
    return tuple(
        Shape(
            kind=KINDS[int(random.random() * len(KINDS))],
            y=(0.1 + 0.8 * random.random()) * size[0],
            x=(0.1 + 0.8 * random.random()) * size[1],
            radius=(0.15 + 0.15 * random.random()) * side,
            angle=math.tau * random.random(),
        )
        for _ in range(2 + int(random.random() * 4))
    )


def _draw_colours(random: np.random.Generator, count: int) -> Float[np.ndarray, "n 3"]:
    """Colours in [0, 255]: each the farthest of some random ones from all before it, so that a person sees the edge."""
    chosen = [random.uniform(0, 255, 3)]
    while len(chosen) < count:
        candidates = random.uniform(0, 255, (12, 3))
        apart = np.linalg.norm(candidates[:, None] - np.array(chosen), axis=-1).min(1)
        chosen.append(candidates[apart.argmax()])
    return np.array(chosen)


def _draw_texture(
    random: np.random.Generator, size: tuple[int, int], colour: np.ndarray, y: np.ndarray, x: np.ndarray
) -> Float[np.ndarray, "*p 3"]:
    """One colour, a slope, stripes, squares or waves of two near colours, at the pixels (y, x)."""
    pattern, angle, phase = int(random.random() * 5), math.tau * random.random(), math.tau * random.random()
    wave = min(size) * (0.06 + 0.14 * random.random())  # pixels from crest to crest
    swing = random.uniform(-28, 28, 3)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if pattern == 0:
        height = np.zeros(along.shape)
    elif pattern == 1:
        height = along / max(size)
    else:
        height = np.sin(along * (math.tau / wave) + phase)
        if pattern > 2:
            other = np.sin(across * (math.tau / wave) + phase)
            height = height * other if pattern == 3 else (height + other) / 2
        if pattern < 4:
            height = np.sign(height)
    return colour + height[..., None] * swing


def write_folder(
    folder: str | Path, *, train: int = 200, val: int = 50, size: Sequence[int] = (96, 128), seed: int = 0
) -> None:
    """Write drawn scenes as images/{train,val}/*.png, masks/{train,val}/*.png and classes.txt.

    Args:
        folder: made where it is missing; it must hold no images yet.
        train: scenes to train on.
        val: scenes to validate on.
        size: height and width in pixels.
        seed: 0 or more.

    Raises:
        ValueError: the folder holds images or masks already, or a size or number makes no sense.
        OSError: something could not be written.
    """
    folder = Path(folder)
    taken = [name for name in ("images", "masks", "classes.txt") if (folder / name).exists()]
    if taken:
        raise ValueError(f"{folder} holds {' and '.join(taken)} already: name an empty or a new folder")
    parts = [Shapes(count, size_of(size, LEAST), seed, split) for split, count in (("train", train), ("val", val))]
    try:
        for part in parts:
            images, masks = folder / "images" / part.split, folder / "masks" / part.split
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for index in range(len(part)):
                image, mask = part[index]
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(images / f"{index:05d}.png")
                Image.fromarray(mask.to(torch.uint8).numpy()).save(masks / f"{index:05d}.png")
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in Shapes.classes))
    except OSError as error:
        raise said(error, f"the drawn shapes could not be written to {folder}") from error


@dataclass(frozen=True)
class WriteShapes:
    """Draw shapes with exact masks into a folder that `sightline train segment` takes."""

    out: Annotated[Path, tyro.conf.Positional]  # a new folder
    train: int = 200  # scenes to train on
    val: int = 50  # scenes to validate on
    size: tuple[int, int] = (96, 128)  # height and width in pixels
    seed: int = 0


def run(settings: WriteShapes) -> None:
    """Write the folder and say so."""
    write_folder(settings.out, train=settings.train, val=settings.val, size=settings.size, seed=settings.seed)
    print(f"{settings.train} scenes to train on and {settings.val} to validate on, with masks, in {settings.out}")


if __name__ == "__main__":
    run(tyro.cli(WriteShapes))
