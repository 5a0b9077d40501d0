"""A replay: the latest transitions of every environment, to be learned from again in any order (Lin, 1992).

Every environment has a ring of rows, and the observation that a transition led to is its next row's: each is stored
once, in its own type (images stay bytes). Where an episode ends, one more row holds its last observation and is no
transition, under every autoreset mode alike:

- NEXT_STEP: that row is what the environments give anyway, the one that only resets;
- SAME_STEP, DISABLED: it is put in, and the environment's ring moves on by a row.

So no sample reaches across an episode's end, and a truncated episode is valued at its true last observation. Returns of
n steps are summed when they are drawn:

    R = r_0 + gamma r_1 + ... + gamma^(m-1) r_(m-1),   discount = gamma^m, or 0 if the episode terminated there

with m = n, or fewer where an episode ends or the ring does: the newest transitions are valued from what is known last.

Left out: frames of a stack kept once each, and replays on a disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float32, Int, Shaped

from sightline.rl.priorities import Priorities
from sightline.rl.transitions import Rollout, check_followed
from sightline.rl.trees import Arrays, empty_arrays, map_arrays, named_arrays


@dataclass(frozen=True)
class Batch:
    """Transitions that were drawn, n-step where that was asked; copies."""

    observation: Arrays  # [n, ...]
    action: Shaped[np.ndarray, "n ..."]  # as the policy said it
    reward: Float32[np.ndarray, " n"]  # the discounted sum of up to so many steps
    discount: Float32[np.ndarray, " n"]  # of the value of `next_observation`; 0: the episode terminated
    next_observation: Arrays  # [n, ...] what the last of the steps led to
    index: Int[np.ndarray, " n"]  # places in the replay
    weight: Float32[np.ndarray, " n"] | None  # of prioritised transitions; None: all count the same


class Replay:
    """The latest transitions of some environments.

    Args:
        space: of one environment's observations.
        action: an array like one action, as the policy says it.
        environments: the b of `[t, b]`.
        capacity: rows of all environments together; transitions, and the last observation of every episode.
        mode: how the environments reset what has ended.
        seed: of what is drawn.
        alpha: exponent of the priorities; None: all transitions are drawn alike.

    Raises:
        ValueError: too few rows, more than fit in the memory, or a space whose elements have no fixed size.
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        action: np.ndarray,
        environments: int,
        capacity: int,
        *,
        mode: AutoresetMode,
        seed: int,
        alpha: float | None = None,
    ) -> None:
        self.environments, self.rows = environments, capacity // environments
        if self.rows < 3:
            raise ValueError(
                f"a replay has 3 rows or more of each environment, got a capacity of {capacity} for {environments} "
                f"environments: use --capacity {3 * environments} or more"
            )
        self.size = self.rows * environments  # place = row * environments + environment
        one = empty_arrays(space, ())
        _check_memory(self.size, sum(part.nbytes for _, part in named_arrays(one, "")) + action.nbytes + 4 + 2)
        self._apart = mode != AutoresetMode.NEXT_STEP
        self._observation = empty_arrays(space, (self.size,))
        self._action = np.zeros((self.size, *action.shape), action.dtype)
        self._reward = np.zeros(self.size, np.float32)
        self._terminated, self._valid = (np.zeros(self.size, bool) for _ in range(2))
        self._written = np.zeros(environments, np.int64)  # rows ever; the next one holds the latest observation
        self._count = 0
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, STREAM)))
        self.priorities = None if alpha is None else Priorities(self.size, alpha)

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        return self._count

    def add(self, rollout: Rollout) -> None:
        """Take in a rollout that goes on where the last one ended.

        Raises:
            ValueError: it is of another number of environments, or longer than the replay.
        """
        check_followed("the replay", self.environments, rollout.reward)
        steps, count = rollout.reward.shape
        row, moves = np.arange(steps)[:, None] + self._written, np.full(count, steps)
        if self._apart and len(rollout.final_step):
            ended = rollout.terminated | rollout.truncated
            before = np.cumsum(ended, 0)
            row += before - ended
            moves += before[-1]
        if moves.max() >= self.rows:
            raise ValueError(
                f"a replay of {self.rows} rows for each environment does not hold a rollout of {steps} steps: use a "
                f"--capacity of {(2 * steps + 1) * count} or more"
            )
        self._written += moves
        place = row % self.rows * count + np.arange(count)
        self._forget(place)
        map_arrays(lambda kept, new: _put(kept, place, new), self._observation, rollout.observation)
        self._action[place], self._reward[place] = rollout.action, rollout.reward
        self._terminated[place], self._valid[place] = rollout.terminated, rollout.valid
        self._count += int(rollout.valid.sum())
        if self.priorities is not None:
            self.priorities.add(place[rollout.valid])
        if self._apart and len(rollout.final_step):
            last = (place[rollout.final_step, rollout.final_environment] + count) % self.size
            self._keep(last, rollout.final_observation)
        self._keep(self._head(), rollout.next_observation)

    def cut(self) -> None:
        """The environments begin anew: what the latest transitions led to stays, as an episode's last observation."""
        before = (self._head() - self.environments) % self.size
        self._written += self._valid[before]
        self._forget(self._head())

    def sample(self, count: int, *, gamma: float, steps: int = 1, beta: float = 0.0) -> Batch:
        """Draw transitions, with replacement.

        Args:
            count: how many.
            gamma: the discount.
            steps: the n of n-step returns.
            beta: exponent of the weights, where there are priorities.

        Raises:
            ValueError: there is none yet.
        """
        if not self._count:
            raise ValueError("the replay holds no transition to draw: add a rollout first")
        if self.priorities is None:
            index, weight = self._uniform(count), None
        else:
            index = self.priorities.sample(count, self._rng)
            weight = self.priorities.weights(index, self._count, beta)
        return self._at(index, weight, gamma, steps)

    def everything(self) -> Batch:
        """All transitions, in the order of their places; the discount is 0 where the episode terminated, else 1."""
        return self._at(np.flatnonzero(self._valid), None, 1.0, 1)

    def _at(
        self, index: Int[np.ndarray, " n"], weight: Float32[np.ndarray, " n"] | None, gamma: float, steps: int
    ) -> Batch:
        reward, discount, after = self._returns(index, gamma, steps)
        return Batch(
            observation=map_arrays(lambda kept: kept.take(index, 0), self._observation),
            action=self._action[index],
            reward=reward,
            discount=discount,
            next_observation=map_arrays(lambda kept: kept.take(after, 0), self._observation),
            index=index,
            weight=weight,
        )

    def state_dict(self) -> dict[str, Any]:
        """All of it, exact, the rows that were written alone. The tensors are the replay's own memory."""
        filled = self._filled()
        return {
            "written": self._written.tolist(),
            "rows": self.rows,
            "columns": {name: torch.from_numpy(kept[:filled]) for name, kept in self._columns()},
            "priorities": None if self.priorities is None else self.priorities.state_dict(filled),
            "generator": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back, into a new replay.

        Raises:
            ValueError: it is of another replay.
        """
        here = {name: [str(kept.dtype), *kept.shape[1:]] for name, kept in self._columns()}
        saved = {name: [str(kept.numpy().dtype), *kept.shape[1:]] for name, kept in state["columns"].items()}
        sizes = (state["rows"], len(state["written"]), state["priorities"] is not None)
        if sizes != (self.rows, self.environments, self.priorities is not None) or saved != here:
            raise ValueError(
                f"the saved replay has {sizes[0]} rows of {sizes[1]} environments, {saved}, and this one {self.rows} "
                f"of {self.environments}, {here}, or one has priorities: give the settings that it was saved with"
            )
        self._written = np.array(state["written"], np.int64)
        for name, kept in self._columns():
            kept[: self._filled()] = state["columns"][name].numpy()
        self._count = int(self._valid.sum())
        self._rng.bit_generator.state = state["generator"]
        if self.priorities is not None:
            self.priorities.load_state_dict(state["priorities"])

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        return [
            *named_arrays(self._observation, "observation"),
            ("action", self._action),
            ("reward", self._reward),
            ("terminated", self._terminated),
            ("valid", self._valid),
        ]

    def _head(self) -> Int[np.ndarray, " b"]:
        """The place of every environment's latest observation."""
        return self._written % self.rows * self.environments + np.arange(self.environments)

    def _filled(self) -> int:
        return min(int(self._written.max()) + 1, self.rows) * self.environments

    def _forget(self, place: Int[np.ndarray, "..."]) -> None:
        """What is at these places is no transition any more."""
        self._count -= int(self._valid[place].sum())
        self._valid[place] = False
        if self.priorities is not None:
            self.priorities.remove(place.ravel())

    def _keep(self, place: Int[np.ndarray, " n"], observation: Arrays) -> None:
        """Observations that nothing was done after."""
        self._forget(place)
        map_arrays(lambda kept, new: _put(kept, place, new), self._observation, observation)

    def _uniform(self, count: int) -> Int[np.ndarray, " n"]:
        """Places of transitions: any place, anew until it is one."""
        filled = self._filled()
        index = self._rng.integers(filled, size=count)
        no = np.flatnonzero(~self._valid[index])
        while len(no):
            index[no] = self._rng.integers(filled, size=len(no))
            no = no[~self._valid[index[no]]]
        return index

    def _returns(
        self, index: Int[np.ndarray, " n"], gamma: float, steps: int
    ) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Rewards, discounts and the places of what came after up to so many steps."""
        if steps == 1:
            discount = np.where(self._terminated[index], np.float32(0), np.float32(gamma))
            return self._reward[index], discount, (index + self.environments) % self.size
        places = (index[:, None] + np.arange(steps) * self.environments) % self.size
        counts: Bool[np.ndarray, "n steps"] = self._valid[places]  # no transition: the episode or the ring has ended
        np.logical_and.accumulate(counts, 1, out=counts)
        reward = (self._reward[places] * gamma ** np.arange(steps) * counts).sum(1)
        taken = counts.sum(1)
        last = (index + (taken - 1) * self.environments) % self.size
        discount = np.where(self._terminated[last], 0.0, gamma**taken)
        after = (last + self.environments) % self.size
        return reward.astype(np.float32), discount.astype(np.float32), after


STREAM = 3  # beside the noise of actions and the order of minibatches


def free_memory() -> int | None:
    """Bytes that can be taken; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def _check_memory(rows: int, each: int) -> None:
    free = free_memory()
    if free is not None and rows * each > free:
        raise ValueError(
            f"a replay of {rows} rows of {each} bytes takes {rows * each / 1e9:.1f} GB and {free / 1e9:.1f} GB of "
            f"memory are free: use --capacity {int(free / 2 / each)} or less, or smaller observations"
        )


def _put(kept: np.ndarray, place: np.ndarray, new: np.ndarray) -> None:
    kept[place] = new
