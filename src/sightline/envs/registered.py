"""The names of our environments in Gymnasium's registry, which `sightline.envs` fills when it is imported.

    gymnasium.make("sightline.envs:sightline/Catch-v0", scale=8)
    gymnasium.make_vec("sightline.envs:sightline/Catch-v0", num_envs=64, autoreset_mode="SameStep")

Left out: versions other than the first.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
from gymnasium.vector import AutoresetMode

from sightline.envs.box_world import BoxWorld
from sightline.envs.catch import Catch
from sightline.envs.corridor import Corridor
from sightline.envs.gymnasium import METADATA, Single, Vector
from sightline.envs.recall import Recall


@dataclass(frozen=True)
class Maker:
    """What Gymnasium calls an entry point: makes one environment or a batch from keyword arguments."""

    family: type
    metadata: ClassVar[dict[str, Any]] = METADATA  # read by gymnasium.make, which then wraps for render_mode="human"

    def __call__(
        self, *, max_episode_steps: int | None = None, render_mode: str | None = None, **options: Any
    ) -> Single:
        """One environment; options are the fields of the family."""
        return Single(self.family(**options), max_episode_steps=max_episode_steps, render_mode=render_mode)

    def vector(
        self,
        *,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> Vector:
        """A batch of environments; options are the fields of the family."""
        return Vector(
            self.family(**options),
            num_envs,
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
        )


catch, corridor, box_world, recall = Maker(Catch), Maker(Corridor), Maker(BoxWorld), Maker(Recall)
catch_vector, corridor_vector, box_world_vector = catch.vector, corridor.vector, box_world.vector
recall_vector = recall.vector
SMALL = {"size": 6, "goal_length": (1, 2), "distractors": (0, 1)}


MAZES = {"DynaMaze": "dyna", "BlockingMaze": "blocking", "ShortcutMaze": "shortcut"}


def register() -> None:
    """Tell Gymnasium about our environments; doing it twice does no harm."""
    for name, plan in MAZES.items():
        if f"sightline/{name}-v0" not in gymnasium.registry:
            gymnasium.register(f"sightline/{name}-v0", entry_point="sightline.envs.maze:Maze", kwargs={"plan": plan})
    for name, maker, limit, options in (
        ("Catch", "catch", None, {}),
        ("Corridor", "corridor", 1000, {}),
        ("Recall", "recall", None, {}),
        ("BoxWorld", "box_world", 120, {}),
        ("BoxWorldSmall", "box_world", 60, SMALL),
    ):
        if f"sightline/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                f"sightline/{name}-v0",
                entry_point=f"sightline.envs.registered:{maker}",
                vector_entry_point=f"sightline.envs.registered:{maker}_vector",
                max_episode_steps=limit,
                kwargs=dict(options),
            )
