"""Rendered frames of MiniGrid worlds with the class of every pixel: what an agent's picture consists of.

MiniGrid (Chevalier-Boisvert et al., 2023, https://arxiv.org/abs/2306.13831) draws each cell as a tile, at three times
its resolution, and averages. A pixel bears the class of what covers most of its nine parts: the agent, else the cell's
object, else the floor. So the floor around a ball is floor, and so are the lines between floor tiles. What an object's
drawing paints belongs to it, black or not: the panels of a closed door, the inside of a box, the bow of a key. Brighter
tiles are where the agent looks; they are of the same classes.

A frame's world follows from (seed, split, index): its layout, and a walk of random actions that opens doors and moves
things. Frames of different worlds differ in size. Needs `pip install 'sightline[minigrid]'`.

Left out: the agent's own view with its unseen cells, three-dimensional worlds.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64

from sightline.ops.arguments import choose
from sightline.vision.data.examples import IGNORE, Example, random_of, within

WORLDS = (
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-BlockedUnlockPickup-v0",
    "MiniGrid-PutNear-8x8-N3-v0",
)
PARTS = 3  # MiniGrid draws a pixel as so many by so many parts and averages them


@dataclass(frozen=True)
class Frames:
    """Frames of MiniGrid worlds, each the whole world with the agent in it."""

    count: int = 200
    worlds: tuple[str, ...] = WORLDS  # identifiers of environments, taken in turn
    tile: int = 16  # pixels along each side of a cell
    steps: int = 40  # the longest random walk before the frame
    highlight: bool = True  # whether what the agent sees is drawn brighter
    seed: int = 0
    split: str = "train"  # "train", "val" or "test": different worlds, alike only where there are few layouts

    task: ClassVar[Literal["segment"]] = "segment"
    classes: ClassVar[tuple[str, ...]] = ("floor", "wall", "door", "key", "ball", "box", "goal", "lava", "agent")
    ignore: ClassVar[int] = IGNORE  # no pixel bears it: everything is labelled

    def __post_init__(self) -> None:
        random_of(self.seed, self.split, 0)
        if self.count < 1 or self.tile < 4 or self.steps < 0:
            raise ValueError(
                "frames are 1 or more, with tiles of 4 pixels or more and walks of 0 steps or more, got "
                f"count={self.count}, tile={self.tile}, steps={self.steps}"
            )
        if isinstance(self.worlds, str) or not self.worlds:
            raise ValueError(f"worlds are a sequence of identifiers, got {self.worlds!r}")
        known = [name for name in _registry() if name.startswith(("MiniGrid-", "BabyAI-"))]
        for world in self.worlds:
            choose("MiniGrid world", world, known)

    def __len__(self) -> int:
        return self.count

    def environment(self, index: int) -> Any:
        """The environment whose frame it is, as the random walk has left it."""
        random = random_of(self.seed, self.split, within(index, self.count))
        environment = _make(self.worlds[index % len(self.worlds)])
        environment.reset(seed=int(random.integers(2**31)))
        for action in random.choice(6, int(random.integers(self.steps + 1)), p=(0.15, 0.15, 0.4, 0.1, 0.05, 0.15)):
            _, _, terminated, truncated, _ = environment.step(int(action))
            if terminated or truncated:
                break
        return environment

    def __getitem__(self, index: int) -> Example:
        environment = self.environment(index)
        image = environment.get_frame(highlight=self.highlight, tile_size=self.tile)
        grid, here = environment.grid, tuple(int(place) for place in environment.agent_pos)
        rows = []
        for y in range(grid.height):
            tiles = []
            for x in range(grid.width):
                thing = grid.get(x, y)
                direction = int(environment.agent_dir) if (x, y) == here else None
                tiles.append(_tile(None if thing is None else tuple(thing.encode()), direction, self.tile))
            rows.append(np.concatenate(tiles, 1))
        mask = np.concatenate(rows, 0)
        return Example(torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(mask))

    def name(self, index: int) -> str:
        """A made-up name: the world, and how to draw it again."""
        world = self.worlds[within(index, self.count) % len(self.worlds)]
        return f"{world}-{self.split}-{self.seed}-{index:05d}"


def _registry() -> Any:
    try:
        import gymnasium
        import minigrid  # noqa: F401  registers its environments
    except ImportError:
        raise ImportError("frames are drawn by MiniGrid: pip install 'sightline[minigrid]'") from None
    return gymnasium.registry


def _make(world: str) -> Any:
    import gymnasium

    _registry()  # another process may not have imported MiniGrid yet
    return gymnasium.make(world, disable_env_checker=True).unwrapped


@functools.lru_cache(maxsize=4096)
def _tile(thing: tuple[int, int, int] | None, direction: int | None, size: int) -> Int64[np.ndarray, "s s"]:
    """The classes in a tile with a thing (as MiniGrid encodes it) and perhaps the agent, looking in a direction."""
    fine = np.zeros((size * PARTS, size * PARTS), np.int64)
    if thing is not None:
        drawn, kind = _painted_by(thing, size * PARTS)
        if kind != "floor":  # a coloured floor is a floor
            fine[drawn] = Frames.classes.index(choose("thing in a MiniGrid world", kind, Frames.classes))
    if direction is not None:
        fine[_painted_by_agent(direction, size * PARTS)] = Frames.classes.index("agent")
    parts = fine.reshape(size, PARTS, size, PARTS)
    order = sorted(np.unique(fine).tolist(), reverse=True)  # of equals the agent comes first, and the floor last
    covered = [(parts == index).sum((1, 3)) for index in order]
    return np.array(order)[np.argmax(covered, 0)]


def _painted_by(thing: tuple[int, int, int], size: int) -> tuple[Bool[np.ndarray, "s s"], str]:
    """Which pixels of a tile a thing's drawing paints, and its kind: it looks the same there on black and on white."""
    from minigrid.core.world_object import WorldObj

    drawn = WorldObj.decode(*thing)
    assert drawn is not None, "only an empty cell is nothing"
    black, white = np.zeros((size, size, 3), np.uint8), np.full((size, size, 3), 255, np.uint8)
    drawn.render(black)
    drawn.render(white)
    return (black == white).all(-1), drawn.type


def _painted_by_agent(direction: int, size: int) -> Bool[np.ndarray, "s s"]:
    """Which pixels of a tile the agent covers: an empty tile looks otherwise there without it."""
    from minigrid.core.grid import Grid

    with_agent, without = (
        Grid.render_tile(None, agent_dir=looking, tile_size=size, subdivs=1) for looking in (direction, None)
    )
    return (with_agent != without).any(-1)
