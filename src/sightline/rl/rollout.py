"""Rollouts: transitions `[t, b]` over any `gymnasium.vector.VectorEnv`, whichever way it resets what has ended.

Gymnasium 1.x has three autoreset modes (https://farama.org/Vector-Autoreset-Mode), and a loop written for one is
silently wrong under another. Here every episode gives the same transitions in all three:

- NEXT_STEP: the step after an episode's end only resets, and its action is ignored. Its row is not `valid`.
- SAME_STEP: the step that ends an episode returns the next one's first observation; the last one is in `final_obs`.
- DISABLED: nothing is reset until `reset(options={"reset_mask": ...})`, which is done here between two rows.

The last observation of every episode is kept, so that one batch values all truncations at the end
(`transitions.py`).

A policy with a memory is told before a step which environments begin an episode there, under every mode alike.

Left out: normalisation (`normalise.py`), statistics (`episodes.py`), saving the environments themselves, and
asynchronous collection.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Int

from sightline.rl.failures import failure, first_not_finite
from sightline.rl.noise import Draw, NoiseStreams
from sightline.rl.transitions import Rollout
from sightline.rl.trees import Arrays, empty_arrays, map_arrays, named_arrays

Act = Callable[[Arrays, np.ndarray], Any]  # act(observation [b, ...], noise [b, ...]) -> action [b, ...]
Begin = Callable[[np.ndarray], None]  # begin(which [b]): who reads the first observation of an episode next


def autoreset_mode(envs: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """How the environments reset what has ended, as they say it themselves.

    Raises:
        ValueError: they do not say.
    """
    said = envs.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(said)
    except ValueError:
        raise ValueError(
            f"the environments' metadata['autoreset_mode'] is {said!r}, and what a step after an episode's end means "
            "depends on it: set it to gymnasium.vector.AutoresetMode.NEXT_STEP, SAME_STEP or DISABLED"
        ) from None


class Collector:
    """Steps through environments with a policy and hands out rollouts that continue each other.

    Args:
        envs: any vector environment. Wrappers around it may be there; none is needed.
        steps: rows of a rollout, the t of `[t, b]`.
        draw: the noise that one action takes, see `noise.py`.
        seed: of the noise, and of the environments when they are first reset.
        first: the index of the first environment here, where other processes have those before it.
        to_space: makes of the policy's actions what the environments take; the rollout keeps the policy's own. Without
            it they are the same, save that those of a Box are clipped to its bounds on their way.
    """

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        steps: int,
        draw: Draw,
        *,
        seed: int,
        first: int = 0,
        to_space: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"a rollout has one step or more, got steps={steps}")
        self.envs, self.steps, self.mode = envs, steps, autoreset_mode(envs)
        self.done = 0  # steps taken so far; errors name steps by this count
        self._seed = seed + first
        self._noise = NoiseStreams(draw, envs.num_envs, seed=seed, first=first)
        self._started, self._whole = False, True
        rows = (steps, envs.num_envs)
        self._observation = empty_arrays(envs.single_observation_space, (steps + 1, envs.num_envs))
        self._to_space = to_space
        self._action: np.ndarray | None = None
        if to_space is None:
            self._to_space, like = _into(envs.single_action_space)
            self._action = np.zeros((*rows, *like.shape), like.dtype)
        self._reward = np.zeros(rows)
        self._terminated, self._truncated, self._valid = (np.zeros(rows, bool) for _ in range(3))
        self._begins = np.ones((steps + 1, envs.num_envs), bool)  # the last row is the next rollout's first
        self._pending = np.zeros(envs.num_envs, bool)  # those that the next step only resets
        # Views of every row, made once: small environments are fast enough for indexing to show.
        self._observed = [map_arrays(_row(t), self._observation) for t in range(steps + 1)]

    def reset(self, seed: int | None = None) -> None:
        """Begin new episodes everywhere. The noise goes on where it was."""
        try:
            observation, _ = self.envs.reset(seed=seed)
        except Exception as error:
            raise RuntimeError(failure(self.envs.unwrapped, error, self.done)) from error
        map_arrays(np.copyto, self._observed[-1], observation)
        self._pending = np.zeros(self.envs.num_envs, bool)
        self._begins[-1] = True
        self._started = self._whole = True

    def collect(self, act: Act, begin: Begin | None = None) -> Rollout:
        """Take the next steps. The policy must not write into the observation that it is given.

        Args:
            act: the policy.
            begin: told before `act` which environments begin an episode, where some do; a memory needs it.

        Raises:
            RuntimeError: an environment or its worker failed.
            ValueError: a number is NaN or infinite, or an action does not fit the action space.
        """
        if not self._whole:
            raise RuntimeError(_CUT)
        if not self._started:
            self.reset(self._seed)
        self._whole = False
        map_arrays(np.copyto, self._observed[0], self._observed[-1])  # where the last rollout ended
        self._begins[0] = self._begins[-1]
        noise = self._noise.ahead(self.steps)
        finals: list[Arrays] = []
        environments = self.envs.num_envs
        place = np.arange(environments)  # of every stream's next row, among the rows of all
        flat = noise.reshape(self.steps * environments, *noise.shape[2:])
        step = 0
        try:
            for step, valid in enumerate(self._valid):
                np.logical_not(self._pending, out=valid)
                # All streams are at the same row unless a reset took a row; then each has its own place.
                drawn = noise[step] if self.mode != AutoresetMode.NEXT_STEP else flat.take(place, 0)
                if begin is not None:
                    if step:
                        self._note_begins(slice(step - 1, step))
                    if self._begins[step].any():
                        begin(self._begins[step])
                self._step(step, act(self._observed[step], drawn), finals)
                np.add(place, environments, out=place, where=valid)
        except Exception:
            self._finish(step, finals)  # a number that is none explains what else went wrong
            raise
        rollout = self._finish(self.steps, finals)
        self._noise.put_back(self.steps, place // environments)
        self.done += self.steps
        self._whole = True
        return rollout

    def state_dict(self) -> dict[str, Any]:
        """All that the next rollout depends on, save the environments themselves: nested dictionaries, exact."""
        if not self._whole:
            raise RuntimeError(_CUT)
        last = {
            name: torch.from_numpy(rows[-1].copy()) for name, rows in named_arrays(self._observation, "observation")
        }
        return {
            "done": self.done,
            "started": self._started,
            "pending": self._pending.tolist(),
            "begins": self._begins[-1].tolist(),
            "observation": last,
            "noise": self._noise.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back. The environments must be put where they were, or `reset` be called after this.

        Raises:
            ValueError: the state is of other environments.
        """
        shapes = {
            name: [str(rows.dtype), *rows.shape[1:]] for name, rows in named_arrays(self._observation, "observation")
        }
        saved = {name: [str(one.numpy().dtype), *one.shape] for name, one in state["observation"].items()}
        if saved != shapes:
            raise ValueError(f"the saved rollout is of other environments: it has {saved}, these have {shapes}")
        for name, rows in named_arrays(self._observation, "observation"):
            rows[-1] = state["observation"][name].numpy()
        self.done, self._started = state["done"], state["started"]
        self._pending = np.array(state["pending"], bool)
        self._begins[-1] = state["begins"]
        self._noise.load_state_dict(state["noise"])
        self._whole = True

    def _step(self, step: int, action: Any, finals: list[Arrays]) -> None:
        """Take one step and keep what comes of it."""
        action = np.asarray(action)
        if self._action is None:
            self._action = np.zeros((self.steps, self.envs.num_envs, *action.shape[1:]), action.dtype)
        kept = self._action[step]
        if action.shape != kept.shape or not np.can_cast(action.dtype, kept.dtype, "same_kind"):
            raise ValueError(
                f"actions here are {list(kept.shape)} of {kept.dtype}, the policy gave {list(action.shape)} of "
                f"{action.dtype}: give one action per environment, in that type"
            )
        kept[...] = action
        if self._to_space is not None:
            kept = self._to_space(kept)
        try:
            observation, reward, terminated, truncated, infos = self.envs.step(kept)
        except Exception as error:
            raise RuntimeError(failure(self.envs.unwrapped, error, self.done + step)) from error
        self._reward[step], self._terminated[step], self._truncated[step] = reward, terminated, truncated
        map_arrays(np.copyto, self._observed[step + 1], observation)
        ended = np.logical_or(self._terminated[step], self._truncated[step])
        np.logical_and(ended, self._valid[step], out=ended)
        if self.mode == AutoresetMode.NEXT_STEP:
            self._pending = ended
        elif ended[ended.argmax()]:  # what .any() says, in a fraction of its time
            finals.append(self._end(step, np.flatnonzero(ended), infos))

    def _end(self, step: int, which: Int[np.ndarray, " n"], infos: dict[str, Any]) -> Arrays:
        """The last observations of the episodes that ended; these environments are reset where that is ours to do."""
        if self.mode == AutoresetMode.SAME_STEP:
            return self._last(infos, which)
        final = map_arrays(lambda rows: rows[which], self._observed[step + 1])
        ended = np.zeros(self.envs.num_envs, bool)
        ended[which] = True
        try:
            observation, _ = self.envs.reset(options={"reset_mask": ended})
        except Exception as error:
            raise RuntimeError(failure(self.envs.unwrapped, error, self.done + step)) from error
        map_arrays(lambda rows, new: _put(rows, which, new[which]), self._observed[step + 1], observation)
        return final

    def _last(self, infos: dict[str, Any], which: Int[np.ndarray, " n"]) -> Arrays:
        """The last observations of these environments' episodes, as SAME_STEP gives them."""
        if "final_obs" not in infos:
            raise ValueError(
                "the environments say that they reset in the same step, but an episode ended and infos lack "
                "'final_obs', without which a truncation cannot be valued: pass it on in any wrapper"
            )
        final = infos["final_obs"]
        if isinstance(final, np.ndarray) and final.dtype == object:  # Gymnasium: one observation each, None elsewhere
            each = [final[i] for i in which]
            return map_arrays(lambda rows, *one: np.array(one, rows.dtype), self._observation, *each)
        return map_arrays(lambda rows, all_: np.array(all_[which], rows.dtype), self._observation, final)

    def _note_begins(self, rows: slice) -> None:
        """Mark what follows these rows: an episode begins after an end, or after a row that only reset."""
        if self.mode == AutoresetMode.NEXT_STEP:
            begins = ~self._valid[rows]
        else:
            begins = self._terminated[rows] | self._truncated[rows]
        self._begins[rows.start + 1 : rows.stop + 1] = begins

    def _finish(self, steps: int, finals: list[Arrays]) -> Rollout:
        """Put a rollout together from the rows up to this one.

        Raises:
            ValueError: some number is none; the first one is named.
        """
        self._note_begins(slice(0, steps))
        for column in (self._reward, self._terminated, self._truncated):
            column[~self._valid] = 0
        ended, environment = np.nonzero((self._terminated | self._truncated)[:steps])
        if self.mode == AutoresetMode.NEXT_STEP:  # the row after the end shows what it came to
            final = map_arrays(lambda rows: rows[ended + 1, environment], self._observation)
        else:
            none = map_arrays(lambda rows: rows[0, :0], self._observation)
            final = map_arrays(lambda *parts: np.concatenate(parts), none, *finals)
        actions = self._reward[:0] if self._action is None else self._action
        found = [
            (t, order, f"the {name} of environment {b} at step {self.done + t} is {value}: {advice}")
            for order, (name, rows, count, advice) in enumerate(
                [(name, rows, steps + 1, _UNWELL) for name, rows in named_arrays(self._observation, "observation")]
                + [("action", actions, steps + 1, _DIVERGED), ("reward", self._reward, steps, _UNWELL)]
            )
            for t, b, value in first_not_finite(rows[:count])
        ]
        for name, rows in named_arrays(final, "last observation"):
            for _, n, value in first_not_finite(rows[None]):
                told = f"the {name} of environment {environment[n]}'s episode that ended at step {self.done + ended[n]}"
                found.append((int(ended[n]) + 1, -1, f"{told} is {value}: {_UNWELL}"))
        if found:
            raise ValueError(min(found)[2])
        return Rollout(
            observation=map_arrays(lambda rows: rows[:-1], self._observation),
            action=actions,
            reward=self._reward,
            terminated=self._terminated,
            truncated=self._truncated,
            valid=self._valid,
            begins=self._begins[:-1],
            next_begins=self._begins[-1],
            next_observation=map_arrays(lambda rows: rows[-1], self._observation),
            final_observation=final,
            final_step=ended,
            final_environment=environment,
        )


_CUT = "the last rollout was cut off by an error: make a new Collector, and load the state that was last saved"
_UNWELL = "correct the environment; training goes on from the last checkpoint"
_DIVERGED = "the network has diverged; go on from the last checkpoint with a smaller learning rate"


def _into(space: spaces.Space[Any]) -> tuple[Callable[[np.ndarray], np.ndarray] | None, np.ndarray]:
    """How a policy's actions get into a space, None where they are in it; and an array like one of them."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        raise ValueError(f"no policy fits an action space of type {type(space).__name__}: wrap the environment")
    like: np.ndarray = empty_arrays(space, (), "the action space")
    if not isinstance(space, spaces.Box):
        return None, like
    low, high = space.low, space.high
    return (lambda action: np.minimum(np.maximum(action, low), high)), like


def _row(step: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: rows[step]


def _put(rows: np.ndarray, which: np.ndarray, new: np.ndarray) -> None:
    rows[which] = new
