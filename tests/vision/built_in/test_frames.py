"""Frames: labels against the outlines of MiniGrid's drawings, point by point, and against the pictures' colours."""

import math

import numpy as np
import pytest
import torch

from sightline.vision.built_in.frames import WORLDS, Frames

TILE = 12


def painted(kind: str, state: int, x: float, y: float) -> bool:
    """Whether the point (x, y) in [0, 1) of a tile belongs to a thing: the outermost outline of each drawing."""
    match kind:
        case "ball":
            return math.hypot(x - 0.5, y - 0.5) <= 0.31
        case "box":
            return 0.12 <= x <= 0.88 and 0.12 <= y <= 0.88
        case "key":
            teeth = 0.38 <= x <= 0.5 and (0.59 <= y <= 0.66 or 0.81 <= y <= 0.88)
            return teeth or (0.5 <= x <= 0.63 and 0.31 <= y <= 0.88) or math.hypot(x - 0.56, y - 0.28) <= 0.19
        case "door":
            return x >= 0.88 if state == 0 else True  # 0 is open
    return kind in ("wall", "goal", "lava")


def agent(direction: int, x: float, y: float) -> bool:
    """Whether a point lies in the triangle that looks right, turned clockwise by quarters."""
    for _ in range(direction):
        x, y = y, 1 - x
    return 0.12 <= x <= 0.87 and abs(y - 0.5) <= 0.31 * (0.87 - x) / 0.75


@pytest.mark.parametrize("index", range(len(WORLDS)))
def test_every_pixel_is_what_covers_most_of_it(index: int) -> None:
    frames = Frames(4, tile=TILE, seed=5)
    environment, (_, mask) = frames.environment(index), frames[index]
    height, width = environment.grid.height, environment.grid.width
    assert mask.shape == (height * TILE, width * TILE)
    seen = set()
    for row in range(height):
        for column in range(width):
            thing = environment.grid.get(column, row)
            kind, state = ("floor", 0) if thing is None else (thing.type, thing.encode()[2])
            here = (column, row) == tuple(environment.agent_pos)
            if kind in seen and not here:
                continue  # all tiles of a kind look the same
            seen.add(kind)
            for y in range(TILE):
                for x in range(TILE):
                    votes = {"agent": 0, kind: 0, "floor": 0}
                    for dy in (1, 3, 5):
                        for dx in (1, 3, 5):
                            px, py = (x + dx / 6) / TILE, (y + dy / 6) / TILE
                            if here and agent(environment.agent_dir, px, py):
                                votes["agent"] += 1
                            else:
                                votes[kind if painted(kind, state, px, py) else "floor"] += 1
                    found = frames.classes[int(mask[row * TILE + y, column * TILE + x])]
                    assert votes[found] == max(votes.values()), (kind, y, x, votes, found)
    assert "wall" in seen


def test_a_person_would_say_the_same_of_the_colours() -> None:
    """Without the light: goals are green, walls grey, lava has no blue, and free floor is black with grey lines."""
    frames = Frames(40, tile=16, highlight=False)
    pixels = torch.cat([image.flatten(1) for image, _ in frames], 1).int()
    labels = torch.cat([mask.flatten() for _, mask in frames])
    assert labels.unique().tolist() == list(range(len(frames.classes))), "every class is drawn somewhere"

    def colours(name: str) -> torch.Tensor:
        return pixels[:, labels == frames.classes.index(name)]

    red, green, _ = colours("goal")
    assert (green - red).min() > 200
    assert torch.equal(colours("wall").amax(0), colours("wall").amin(0))
    assert colours("lava")[2].max() == 0
    red, _, blue = colours("agent")
    assert (red - blue).min() >= 4 * 255 // 9
    floor = colours("floor")
    assert (floor.amax(0) == floor.amin(0)).double().mean() > 0.97, "only pixels that a thing's edge shares have colour"


def test_light_changes_the_image_and_no_label() -> None:
    for index in range(4):
        dark, light = Frames(4, highlight=False)[index], Frames(4, highlight=True)[index]
        assert not dark.image.equal(light.image)
        assert (light.image >= dark.image).all()
        assert dark.target.equal(light.target)


def test_an_open_door_is_its_leaf_alone() -> None:
    frames = Frames(400, ("MiniGrid-DoorKey-5x5-v0", "MiniGrid-MultiRoom-N2-S4-v0"), steps=60, tile=10)
    doors = {True: set(), False: set()}
    for index in range(60):
        environment = frames.environment(index)
        for place, thing in enumerate(environment.grid.grid):
            y, x = divmod(place, environment.grid.width)
            if thing is not None and thing.type == "door" and (x, y) != tuple(environment.agent_pos):
                tile = frames[index].target[y * 10 : y * 10 + 10, x * 10 : x * 10 + 10]
                doors[thing.is_open].add(int((tile == 2).sum()))
    assert doors == {True: {10}, False: {100}}


def test_seed_part_and_number_decide() -> None:
    image = Frames(8, seed=1)[6].image
    assert image.equal(Frames(20, seed=1)[6].image)
    others = [Frames(8, seed=2)[6], Frames(8, seed=1, split="val")[6], Frames(8, seed=1)[2]]
    assert not any(image.shape == other.image.shape and image.equal(other.image) for other in others)
    heights = [Frames(4, tile=4)[index].image.shape[1:] for index in range(4)]
    assert [tuple(size) for size in heights] == [(32, 32), (36, 36), (24, 44), (32, 32)]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown MiniGrid world 'MiniGrid-DoorKey-9x9-v0': did you mean"):
        Frames(worlds=("MiniGrid-DoorKey-9x9-v0",))
    with pytest.raises(ValueError, match=r"frames are 1 or more, .* got count=2, tile=3, steps=40"):
        Frames(2, tile=3)


def test_without_minigrid_one_sentence_says_how_to_install_it(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(ImportError, match=r"frames are drawn by MiniGrid: pip install 'sightline\[minigrid\]'"):
        Frames(2)


def test_labels_are_numbers_of_classes() -> None:
    assert np.array_equal(np.unique(Frames(1, steps=0)[0].target.numpy()), [0, 1, 2, 3, 6, 8])
