"""Gymnasium's `SyncVectorEnv` with a leaner step: the same environments one after the other, the same numbers out.

Of what a step of a few small environments costs there, half is bookkeeping: observations are stacked into a buffer and
the buffer is copied, and every reward, flag and mode is read and written through arrays and enumerations. Here what is
handed out is written once. Everything but `step` is Gymnasium's own.

Left out: handing out one array again and again; what a step returns is always new (`copy` has no effect on it).
"""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate


class Serial(SyncVectorEnv[Any, Any]):
    """Environments of one kind as a vector, stepped in turn in this process; made as a `SyncVectorEnv` is."""

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take an action in each of them.

        Args:
            actions: of `action_space`.

        Returns:
            Observations `[b, ...]`, rewards, terminations and truncations `[b]`, and infos as Gymnasium batches them.

        Raises:
            RuntimeError: one is over and was not reset, where that is the caller's to do.
        """
        at_once, resting = self.autoreset_mode is AutoresetMode.SAME_STEP, self._autoreset_envs.tolist()
        each = actions if isinstance(actions, np.ndarray) else iterate(self.action_space, actions)
        rewards, (terminated, truncated) = np.zeros(self.num_envs), np.zeros((2, self.num_envs), bool)
        infos: dict[str, Any] = {}
        for i, (env, action) in enumerate(zip(self.envs, each, strict=True)):
            if resting[i]:
                if self.autoreset_mode is AutoresetMode.DISABLED:
                    raise RuntimeError(
                        f"environment {i} is over: call reset(options={{'reset_mask': ...}}) before step"
                    )
                self._env_obs[i], info = env.reset()
            else:
                self._env_obs[i], rewards[i], over, cut, info = env.step(action)
                if over or cut:
                    terminated[i], truncated[i] = over, cut
                    if at_once:
                        infos = self._add_info(infos, {"final_obs": self._env_obs[i], "final_info": info}, i)
                        self._env_obs[i], info = env.reset()
            if info:
                infos = self._add_info(infos, info, i)
        self._autoreset_envs = np.zeros(self.num_envs, bool) if at_once else terminated | truncated
        return self._batch(), rewards, terminated, truncated, infos

    def _batch(self) -> Any:
        """The observations of all, in new arrays."""
        out: Any
        like = self._observations  # which Gymnasium's `reset` made
        if isinstance(like, np.ndarray):
            out = np.array(self._env_obs)  # a quarter of what np.stack takes
            if out.shape == like.shape and out.dtype == like.dtype:
                return out
        out = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, self._env_obs, out)
