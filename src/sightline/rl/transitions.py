"""What a rollout holds, and how one batch values all that lies beyond it.

A truncated episode would have gone on: the value of its last observation stands for what was not seen (Pardo et al.,
2018, https://arxiv.org/abs/1712.00378). Those observations and the ones after the last row make one batch:

    values = value(rollout.observation)
    beyond = value(bootstrap_observation(rollout))
    onward = next_values(values, *split_bootstrap(rollout, beyond))   # rl/returns.py

Left out: values themselves.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Shaped
from torch import Tensor

from sightline.rl.trees import Arrays, map_arrays


@dataclass(frozen=True)
class Rollout:
    """What `Collector.collect` returns. The arrays are the collector's own: its next rollout writes over them."""

    observation: Arrays  # [t, b, ...] what was acted upon
    action: Shaped[np.ndarray, "t b ..."]  # as the policy said it, before any clipping
    reward: Float64[np.ndarray, "t b"]
    terminated: Bool[np.ndarray, "t b"]
    truncated: Bool[np.ndarray, "t b"]
    valid: Bool[np.ndarray, "t b"]  # False: the row only resets an environment and is no transition
    begins: Bool[np.ndarray, "t b"]  # True: the observation is an episode's first
    next_begins: Bool[np.ndarray, " b"]  # the same of `next_observation`
    next_observation: Arrays  # [b, ...] what the next rollout acts upon first
    final_observation: Arrays  # [n, ...] the last observation of every episode that ended, in the order of time
    final_step: Int[np.ndarray, " n"]  # the row that ended it
    final_environment: Int[np.ndarray, " n"]


def bootstrap_observation(rollout: Rollout) -> Arrays:
    """All that must be valued beside `rollout.observation`, [n + b, ...].

    First the last observations of the n episodes that were truncated and did not terminate, then the b that come next.
    """
    cut = _cut_off(rollout)
    return map_arrays(
        lambda final, following: np.concatenate([final[cut], following]),
        rollout.final_observation,
        rollout.next_observation,
    )


def bootstrap_rows(
    rollout: Rollout,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """From which row of which environment each of `bootstrap_observation` follows, and whether it begins an episode."""
    cut, (steps, count) = _cut_off(rollout), rollout.reward.shape
    return (
        np.concatenate([rollout.final_step[cut], np.full(count, steps - 1)]),
        np.concatenate([rollout.final_environment[cut], np.arange(count)]),
        np.concatenate([np.zeros(int(cut.sum()), bool), rollout.next_begins]),
    )


def split_bootstrap(
    rollout: Rollout, bootstrap: Float[Tensor, " m"]
) -> tuple[Float[Tensor, " b"], Bool[Tensor, "t b"], Float[Tensor, "t b"]]:
    """The values of `bootstrap_observation(rollout)` as `next_values` takes them, under every autoreset mode.

    Returns:
        The values after the last row; which rows were truncated and did not terminate; the values of their last
        observations, 0 in other rows.
    """
    cut, environments = _cut_off(rollout), rollout.reward.shape[1]
    if len(bootstrap) != cut.sum() + environments:
        raise ValueError(
            f"{cut.sum()} truncated episodes and {environments} environments need as many values together, got "
            f"{len(bootstrap)}: value bootstrap_observation(rollout), all of it"
        )
    where = tuple(
        torch.from_numpy(index[cut]).to(bootstrap.device) for index in (rollout.final_step, rollout.final_environment)
    )
    final = bootstrap.new_zeros(rollout.reward.shape).index_put(where, bootstrap[:-environments])
    truncated = torch.from_numpy(rollout.truncated & ~rollout.terminated).to(bootstrap.device)
    return bootstrap[-environments:], truncated, final


def check_followed(who: str, followed: int, reward: Float[np.ndarray, "t b"]) -> None:
    """Say in one sentence that a rollout is of other environments than `who` has followed so far.

    Raises:
        ValueError: the number of environments differs.
    """
    if reward.shape[1:] != (followed,):
        raise ValueError(
            f"{who} follows {followed} environments, the rewards are of {list(reward.shape)}: give [t, b] of the same "
            "environments every time"
        )


def _cut_off(rollout: Rollout) -> Bool[np.ndarray, " n"]:
    """Which of the episodes that ended were truncated and did not terminate."""
    return ~rollout.terminated[rollout.final_step, rollout.final_environment]
