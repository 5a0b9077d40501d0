"""Recall: a cue is shown once, nothing follows for a while, then it is asked for: what a memory is, and nothing else.

The first observation shows which of `cues` cues it is; `delay` empty ones follow; the last one asks, and the action
there must name the cue: +1, or nothing. Whatever is done before does not matter. A policy that reads the latest
observation alone gets 1 / cues on average, however it acts, and one that remembers gets 1. The T-maze of Bakker, 2002,
"Reinforcement learning with long short-term memory", without its corridor to walk through.

Left out: cues that come at different times, and several at once.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from sightline.envs.environment import Randomness, draw, enlarge

PICTURE = 32  # pixels of a cue in a picture for people
PALE, SHOWN, ASKED = (230, 230, 230), (240, 130, 30), (60, 160, 80)


@dataclass(frozen=True)
class RecallState:
    """What was shown, and how many steps ago."""

    cue: Int[np.ndarray, " b"]
    time: Int[np.ndarray, " b"]


@dataclass(frozen=True)
class Recall:
    """The options of Recall."""

    cues: int = 4
    """To tell apart; as many actions."""
    delay: int = 8
    """Empty observations between the cue and the question."""

    def __post_init__(self) -> None:
        if self.cues < 2 or self.delay < 0:
            raise ValueError(
                f"Recall tells 2 cues or more apart after a delay of 0 or more, got cues {self.cues}, delay "
                f"{self.delay}"
            )

    @property
    def num_actions(self) -> int:
        """One for each cue."""
        return self.cues

    @property
    def observation_shape(self) -> tuple[int]:
        """An indicator of each cue, and of the question."""
        return (self.cues + 1,)

    @property
    def observation_dtype(self) -> type[np.float32]:
        """Numbers in [0, 1]."""
        return np.float32

    def reset(self, rng: Randomness, b: int) -> tuple[RecallState, Float32[np.ndarray, "b n"]]:
        """Each is shown a random cue."""
        state = RecallState(draw(rng, self.cues, b), np.zeros(b, dtype=np.int64))
        return state, self.observe(state)

    def step(
        self, state: RecallState, action: Int[np.ndarray, " b"], rng: Randomness
    ) -> tuple[RecallState, Float32[np.ndarray, "b n"], Float[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """Time passes; nothing is random."""
        asked = state.time == self.delay + 1
        after = RecallState(state.cue, state.time + 1)
        return after, self.observe(after), np.where(asked & (action == state.cue), 1.0, 0.0), asked

    def observe(self, state: RecallState) -> Float32[np.ndarray, "b n"]:
        """The cue, nothing, the question; nothing again after the end."""
        seen = np.zeros((len(state.cue), self.cues + 1), dtype=np.float32)
        seen[np.arange(len(seen)), state.cue] = state.time == 0
        seen[:, self.cues] = state.time == self.delay + 1
        return seen

    def picture(self, state: RecallState) -> UInt8[np.ndarray, "b h w 3"]:
        """A square for each cue, orange while it is shown, and one that is green while it is asked for."""
        seen = self.observe(state) > 0
        colours = np.array([SHOWN] * self.cues + [ASKED], dtype=np.uint8)
        row = np.where(seen[..., None], colours, np.array(PALE, dtype=np.uint8))
        return enlarge(row[:, None], PICTURE)
