"""Returns and lengths of episodes, each counted exactly once, from a rollout's arrays alone.

An episode begins in one rollout and may end in a later one; what it has so far is carried. Rows that are not valid
belong to no episode. Rewards are added one after the other in float64, so that a return depends neither on where
rollouts were cut nor on how the environments reset.

Left out: wrappers that count inside the environments, and episodes that never end.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from sightline.rl.transitions import check_followed


@dataclass(frozen=True)
class Episodes:
    """Those that ended within one rollout, in the order of time, then of environments."""

    total: Float64[np.ndarray, " n"]  # the undiscounted return
    length: Int[np.ndarray, " n"]  # its number of transitions
    environment: Int[np.ndarray, " n"]
    step: Int[np.ndarray, " n"]  # the row that ended it
    terminated: Bool[np.ndarray, " n"]  # False: only truncated


class EpisodeCounter:
    """Counts the episodes of consecutive rollouts of the same environments, and keeps the latest.

    Args:
        environments: the b of `[t, b]`.
        window: how many episodes `mean` looks back over.
    """

    def __init__(self, environments: int, window: int = 100) -> None:
        if environments < 1 or window < 1:
            raise ValueError(
                f"episodes need an environment and a window, got {environments} and {window}: give 1 or more"
            )
        self.count = 0  # episodes that ended, ever
        self._total = np.zeros(environments)  # of those that have not ended
        self._length = np.zeros(environments, np.int64)
        self.latest: deque[tuple[float, int]] = deque(maxlen=window)

    def add(
        self,
        reward: Float[np.ndarray, "t b"],
        terminated: Bool[np.ndarray, "t b"],
        truncated: Bool[np.ndarray, "t b"],
        valid: Bool[np.ndarray, "t b"],
    ) -> Episodes:
        """Count a rollout; what comes back are the episodes that ended in it.

        Raises:
            ValueError: another number of environments than before.
        """
        check_followed("the counter", len(self._total), reward)
        reward = np.where(valid, reward, 0.0)  # float64 from here on
        ended = (terminated | truncated) & valid
        total, length = [], []
        for now, counts, over, any_over in zip(reward, valid, ended, ended.any(axis=1), strict=True):
            self._total += now
            self._length += counts
            if any_over:
                total.append(self._total[over])
                length.append(self._length[over])
                self._total[over], self._length[over] = 0.0, 0
        step, environment = np.nonzero(ended)
        out = Episodes(
            total=np.concatenate([np.zeros(0), *total]),
            length=np.concatenate([np.zeros(0, np.int64), *length]),
            environment=environment,
            step=step,
            terminated=terminated[ended],
        )
        self.count += len(step)
        self.latest.extend(zip(out.total.tolist(), out.length.tolist(), strict=True))
        return out

    def restart(self) -> None:
        """Forget the episodes that have not ended: the environments begin anew."""
        self._total[:], self._length[:] = 0.0, 0

    def mean(self) -> tuple[float, float]:
        """Mean return and length of the latest episodes; not a number before the first one has ended."""
        if not self.latest:
            return float("nan"), float("nan")
        total, length = np.mean(np.array(self.latest), axis=0).tolist()
        return total, length

    def state_dict(self) -> dict[str, Any]:
        """All of it, exact."""
        return {
            "count": self.count,
            "total": self._total.tolist(),
            "length": self._length.tolist(),
            "latest": [list(one) for one in self.latest],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back.

        Raises:
            ValueError: it is of another number of environments.
        """
        if len(state["total"]) != len(self._total):
            raise ValueError(
                f"the saved episodes are of {len(state['total'])} environments, here are {len(self._total)}"
            )
        self.count = state["count"]
        self._total, self._length = np.array(state["total"]), np.array(state["length"], np.int64)
        self.latest.clear()
        self.latest.extend((total, length) for total, length in state["latest"])
