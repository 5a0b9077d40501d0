"""Drawn shapes against a point-in-shape test of another kind: outlines as polygons, crossed by a ray."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.vision.built_in.shapes import ARM, HOLE, KINDS, Shape, Shapes, inside, write_folder
from sightline.vision.data.folders import open_examples
from sightline.vision.data.inspection import inspect

SIZES = [(64, 64), (37, 90), (80, 41), (8, 8)]


def corners(shape: Shape) -> list[tuple[float, float]]:
    """The corners of an outline, one after the other, at their angle and distance around the centre."""
    inner = math.cos(math.tau / 5) / math.cos(math.pi / 5)  # of a star: where two of its lines meet
    long = math.sqrt(1 - ARM**2)
    polar = {
        "square": [(math.pi / 4 + k * math.pi / 2, 1) for k in range(4)],
        "triangle": [(k * math.tau / 3, 1) for k in range(3)],
        "star": [(k * math.pi / 5, 1 if k % 2 == 0 else inner) for k in range(10)],
        "cross": [
            (k * math.pi / 2 + angle, distance)
            for k in range(4)
            for angle, distance in (
                (-math.atan2(ARM, long), 1.0),
                (math.atan2(ARM, long), 1.0),
                (math.pi / 4, ARM * math.sqrt(2)),
            )
        ],
    }[shape.kind]
    return [
        (
            shape.y + shape.radius * distance * math.sin(shape.angle + angle),
            shape.x + shape.radius * distance * math.cos(shape.angle + angle),
        )
        for angle, distance in polar
    ]


def is_inside(shape: Shape, y: float, x: float) -> bool:
    """Whether a ray to the right crosses the outline an odd number of times."""
    if shape.kind in ("disc", "ring"):
        distance = math.hypot(y - shape.y, x - shape.x)
        return distance <= shape.radius and (shape.kind == "disc" or distance >= HOLE * shape.radius)
    outline, crossings = corners(shape), 0
    for (y1, x1), (y2, x2) in zip(outline, outline[1:] + outline[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (x2 - x1) * (y - y1) / (y2 - y1):
            crossings += 1
    return crossings % 2 == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_centre_is_inside_or_not(kind: str) -> None:
    for seed in range(4):
        random = np.random.default_rng(seed)
        size = (23, 31)
        shape = Shape(kind, *random.uniform(5, 20, 2), radius=random.uniform(3, 12), angle=random.uniform(0, 7))
        brute = [[is_inside(shape, y + 0.5, x + 0.5) for x in range(size[1])] for y in range(size[0])]
        assert np.array_equal(inside(shape, size), np.array(brute))
        assert 0 < np.sum(brute) < 23 * 31


@pytest.mark.parametrize("size", SIZES)
def test_the_mask_is_what_lies_in_front(size: tuple[int, int]) -> None:
    shapes = Shapes(3, size, seed=2)
    for index in range(3):
        mask = shapes[index].target
        for y in range(0, size[0], 3):
            for x in range(0, size[1], 3):
                front = [shape.kind for shape in shapes.scene(index) if is_inside(shape, y + 0.5, x + 0.5)]
                assert shapes.classes[int(mask[y, x])] == (front[-1] if front else "background")


def test_image_and_mask_agree_to_the_pixel() -> None:
    """Each visible part has colours of a narrow range of its own: one pixel of a neighbour would widen it."""
    shapes = Shapes(30, (48, 64))
    wide, shifted = 0, 0
    for index in range(30):
        image, mask = shapes[index]
        front = torch.zeros(48, 64, dtype=torch.int64)
        for number, shape in enumerate(shapes.scene(index), start=1):
            front[torch.from_numpy(inside(shape, (48, 64)))] = number
        assert mask.equal(torch.tensor([0, *(shapes.classes.index(s.kind) for s in shapes.scene(index))])[front])
        for number in front.unique():
            for labels, count in ((front, 0), (front.roll(1, 1), 1)):
                colours = image[:, labels == number].int()
                too_wide = int((colours.amax(1) - colours.amin(1)).max() > 2 * (28 + 8) + 1)
                wide, shifted = wide + too_wide * (1 - count), shifted + too_wide * count
    assert wide == 0
    assert shifted > 60, "the test would notice a shift by one pixel"


def test_scenes_follow_from_seed_part_and_number() -> None:
    image = Shapes(4, (16, 24), seed=1)[3].image
    assert image.equal(Shapes(9, (16, 24), seed=1)[3].image)
    others = [Shapes(4, (16, 24), seed=2)[3], Shapes(4, (16, 24), seed=1, split="val")[3], Shapes(4, (16, 24), 1)[2]]
    assert not any(image.equal(other.image) for other in others)


def test_colour_says_nothing_and_every_class_is_common() -> None:
    mean = torch.zeros(len(KINDS) + 1, 3)
    pixels = torch.zeros(len(KINDS) + 1)
    images_with = torch.zeros(len(KINDS) + 1)
    shapes = Shapes(400, (32, 32))
    for image, mask in shapes:
        for label in mask.unique():
            mean[label] += image[:, mask == label].sum(1)
            pixels[label] += (mask == label).sum()
            images_with[label] += 1
    mean /= pixels[:, None]
    assert (mean - 127.5).abs().max() < 20
    assert images_with.min() > 400 * 0.3


def test_a_folder_of_them_reads_back(tmp_path) -> None:
    write_folder(tmp_path / "new", train=3, val=2, size=(20, 28), seed=4)
    for split, count in (("train", 3), ("val", 2)):
        written, drawn = open_examples(tmp_path / "new", split, task="segment"), Shapes(count, (20, 28), 4, split)
        assert written.classes == drawn.classes
        assert len(written) == count
        assert inspect(written).broken == ()
        for index in range(count):
            assert written[index].image.equal(drawn[index].image)
            assert written[index].target.equal(drawn[index].target)
    with pytest.raises(ValueError, match=r"new holds images and masks and classes\.txt already: name an empty"):
        write_folder(tmp_path / "new")


def test_the_command_writes_a_folder(tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "sightline.vision.built_in.shapes",
        str(tmp_path / "d"),
        "--train",
        "2",
        "--val",
        "1",
    ]
    done = subprocess.run(
        [*command, "--size", "16", "24"], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "2 scenes to train on and 1 to validate on" in done.stdout
    with Image.open(tmp_path / "d" / "images" / "val" / "00000.png") as image:
        assert image.size == (24, 16)


@pytest.mark.usefixtures("as_users_run_it")
def test_what_makes_no_sense_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="a size is a height and a width of 8 pixels or more, got"):
        Shapes(3, (7, 20))
    with pytest.raises(ValueError, match="at least one scene must be drawn, got count=0"):
        Shapes(0)
    with pytest.raises(ValueError, match=r"a shape is one of disc, square, .*, got 'blob'"):
        inside(Shape("blob", 1, 1, 1, 1), (8, 8))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the drawn shapes could not be written to .*file"):
        write_folder(tmp_path / "file", train=1, val=1)
