"""Our environments as Gymnasium's: one (`Single`) or many in a batch (`Vector`), from the same pure functions.

A `Vector` behaves as Gymnasium's `SyncVectorEnv` of as many `Single`s with a time limit does, step for step under the
same seeds, in each of its three autoreset modes (https://farama.org/Vector-Autoreset-Mode), only faster. Environment
`i` of a batch is seeded with `seed + i` and draws from a generator of its own, so its life does not depend on the
batch's size; a row that is being reset draws nothing for a step.

`get_state` and `set_state` save and restore exactly (`envs/saving.py`). With `gymnasium.make` the time limit is counted
by Gymnasium's wrapper around the environment and is no part of it; a `Single` that is made directly counts for itself.

Left out: continuous actions and observations of several parts, which none of our environments has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Int, UInt8

from sightline.envs.environment import Environment, Observation, put, take
from sightline.envs.saving import restore, save

METADATA = {"render_modes": ["rgb_array"], "render_fps": 5}


class Single(gymnasium.Env[np.ndarray, Any]):
    """One environment; the batch has size one inside."""

    metadata: dict[str, Any] = METADATA

    def __init__(
        self, environment: Environment[Any], *, max_episode_steps: int | None = None, render_mode: str | None = None
    ) -> None:
        self.environment, self.max_episode_steps, self.render_mode = environment, max_episode_steps, render_mode
        _check_options(render_mode, max_episode_steps)
        self.observation_space, self.action_space = _spaces(environment)
        self._state: Any = None
        self._steps, self._over = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode; there are no options."""
        super().reset(seed=seed)
        self._state, observation = self.environment.reset([self.np_random], 1)
        self._steps, self._over = 0, False
        return observation[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One action.

        Raises:
            ValueError: the action is none, or no episode is going on.
        """
        if self._state is None or self._over:
            raise ValueError("step was called where no episode is going on: call reset first")
        actions = _check_actions(np.asarray(action)[None], 1, self.environment.num_actions)
        self._state, observation, reward, terminated = self.environment.step(self._state, actions, [self.np_random])
        self._steps += 1
        truncated = self.max_episode_steps is not None and self._steps >= self.max_episode_steps
        self._over = bool(terminated[0]) or truncated
        return observation[0], float(reward[0]), bool(terminated[0]), truncated, {}

    def render(self) -> np.ndarray | None:
        """The picture, with render_mode "rgb_array"."""
        if self.render_mode is None or self._state is None:
            return None
        picture: np.ndarray = self.environment.picture(self._state)[0]
        return picture

    def get_state(self) -> dict[str, Any]:
        """Everything that the future depends on, as copies."""
        return save(
            self._state, [self.np_random], [self.np_random_seed], np.array([self._steps]), np.array([self._over])
        )

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Put it back, also into another environment with the same options.

        Raises:
            ValueError: it was saved from an environment with other options.
        """
        state, generators, seeds, steps, over = restore(self.environment, saved, 1)
        self._state, self._steps, self._over = state, int(steps[0]), bool(over[0])
        self.np_random = generators[0]
        self._np_random_seed = seeds[0]


class Vector(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many environments in a batch."""

    def __init__(
        self,
        environment: Environment[Any],
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"a vector environment needs at least one environment, got num_envs {num_envs}")
        _check_options(render_mode, max_episode_steps)
        self.environment, self.num_envs = environment, num_envs
        self.max_episode_steps, self.render_mode = max_episode_steps, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**METADATA, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space, self.single_action_space = _spaces(environment)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: Any = None
        self._generators: list[np.random.Generator] = []
        self._seeds: list[int | None] = []
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._over = np.zeros(num_envs, dtype=bool)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generators, one to each environment, as of `SyncVectorEnv`; none before the first reset."""
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """What they were seeded with."""
        return tuple(self._seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes.

        Args:
            seed: environment `i` is seeded with `seed + i`, or with its own of a sequence; None: its generator goes on.
            options: `{"reset_mask": mask}` resets only where this boolean array is True; the others stay as they are.

        Raises:
            ValueError: the seeds or the mask are not one to each environment.
        """
        which = self._which(options)
        self._seed(seed, which)
        generators = [self._generators[i] for i in which]
        fresh, observation = self.environment.reset(generators, len(which))
        self._steps[which], self._over[which] = 0, False
        if len(which) == self.num_envs:
            self._state = fresh
            return observation, {}
        self._state = put(self._state, which, fresh)
        return self.environment.observe(self._state), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action each; rewards are float64, terminations and truncations two boolean arrays.

        Raises:
            ValueError: an action is none, or it falls on an episode that is over and that nothing resets.
        """
        if self._state is None:
            raise ValueError("step was called before reset: call reset first")
        actions = _check_actions(np.asarray(actions), self.num_envs, self.environment.num_actions)
        if self._over.any():
            if self.autoreset_mode is AutoresetMode.DISABLED:
                raise ValueError(
                    f"the episodes of environments {np.flatnonzero(self._over).tolist()} are over and autoreset is "
                    "disabled: reset them first, with options={'reset_mask': terminated | truncated}"
                )
            observation, reward, terminated = self._reset_or_advance(actions)
        else:
            self._state, observation, reward, terminated = self.environment.step(self._state, actions, self._generators)
            self._steps += 1
        truncated = np.zeros(self.num_envs, dtype=bool)
        if self.max_episode_steps is not None:
            truncated = self._steps >= self.max_episode_steps
        over = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if not over.any():
                return observation, reward, terminated, truncated, {}
            return self._reset_at_once(observation, over), reward, terminated, truncated, self._final(observation, over)
        self._over = over
        return observation, reward, terminated, truncated, {}

    def _reset_or_advance(
        self, actions: Int[np.ndarray, " b"]
    ) -> tuple[Observation, Float[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """NEXT_STEP: who is over is reset and its action ignored, the others step; nobody draws for anybody else."""
        new, live = np.flatnonzero(self._over), np.flatnonzero(~self._over)
        fresh, seen = self.environment.reset([self._generators[i] for i in new], len(new))
        observation = np.empty((self.num_envs, *seen.shape[1:]), dtype=seen.dtype)
        reward, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        observation[new] = seen
        state = put(self._state, new, fresh)
        if len(live):
            stepped, observation[live], reward[live], terminated[live] = self.environment.step(
                take(self._state, live), actions[live], [self._generators[i] for i in live]
            )
            state = put(state, live, stepped)
        self._state = state
        self._steps += 1
        self._steps[new] = 0
        return observation, reward, terminated

    def _reset_at_once(self, observation: Observation, over: Bool[np.ndarray, " b"]) -> Observation:
        """SAME_STEP: what the next episodes begin with, in place of what the last ones ended with."""
        new = np.flatnonzero(over)
        fresh, seen = self.environment.reset([self._generators[i] for i in new], len(new))
        self._state = put(self._state, new, fresh)
        self._steps[new] = 0
        observation = observation.copy()
        observation[new] = seen
        return observation

    def _final(self, observation: Observation, over: Bool[np.ndarray, " b"]) -> dict[str, Any]:
        """The last observations in the form of `SyncVectorEnv`, whose environments' own infos are empty here."""
        last = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(over):
            last[i] = observation[i]
        return {"final_obs": last, "_final_obs": over.copy(), "final_info": {}, "_final_info": over.copy()}

    def render(self) -> tuple[UInt8[np.ndarray, "h w 3"], ...] | None:
        """The pictures, with render_mode "rgb_array"."""
        if self.render_mode is None or self._state is None:
            return None
        return tuple(self.environment.picture(self._state))

    def get_state(self) -> dict[str, Any]:
        """Everything that the future depends on, as copies."""
        return save(self._state, self._generators, self._seeds, self._steps, self._over)

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Put it back, also into another `Vector` with the same options.

        Raises:
            ValueError: it was saved from an environment with other options, or from fewer or more of them.
        """
        self._state, self._generators, self._seeds, self._steps, self._over = restore(
            self.environment, saved, self.num_envs
        )

    def _which(self, options: Mapping[str, Any] | None) -> Int[np.ndarray, " k"]:
        """The environments that are to be reset."""
        mask = None if options is None else options.get("reset_mask")
        if mask is None:
            return np.arange(self.num_envs)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            got = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else f"a {type(mask).__name__}"
            raise ValueError(f"reset_mask is a boolean array of shape ({self.num_envs},), got {got}")
        if not mask.any():
            raise ValueError("reset_mask is nowhere True: there is nothing to reset, do not call reset")
        if self._state is None and not mask.all():
            raise ValueError("reset_mask leaves out environments that were never reset: reset all of them first")
        return np.flatnonzero(mask)

    def _seed(self, seed: int | Sequence[int | None] | None, which: Int[np.ndarray, " k"]) -> None:
        seeds: list[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{self.num_envs} environments need as many seeds, got {len(seeds)}")
        first, chosen = not self._generators, set(which.tolist())
        for i in range(self.num_envs):
            if first or (seeds[i] is not None and i in chosen):
                generator, used = seeding.np_random(seeds[i])
                self._generators[i : i + 1], self._seeds[i : i + 1] = [generator], [used]


def _spaces(environment: Environment[Any]) -> tuple[Box, Discrete]:
    """Pixels are in [0, 255], numbers in [0, 1]."""
    dtype = environment.observation_dtype
    high = 255 if dtype is np.uint8 else 1
    space = Box(0, high, environment.observation_shape, dtype)  # type: ignore[arg-type]
    return space, Discrete(environment.num_actions)


def _check_options(render_mode: str | None, max_episode_steps: int | None) -> None:
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"our environments draw with render_mode 'rgb_array' or not at all, got {render_mode!r}")
    if max_episode_steps is not None and max_episode_steps < 1:
        raise ValueError(f"max_episode_steps is at least 1, or None for no limit, got {max_episode_steps}")


def _check_actions(actions: np.ndarray, b: int, num_actions: int) -> Int[np.ndarray, " b"]:
    if actions.shape != (b,) or actions.dtype.kind not in "iu":
        raise ValueError(
            f"actions are {b} whole numbers below {num_actions}, got {actions.dtype} of shape {actions.shape}"
        )
    wrong = (actions < 0) | (actions >= num_actions)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(f"actions are whole numbers from 0 to {num_actions - 1}, environment {i} got {actions[i]}")
    return actions.astype(np.int64, copy=False)
