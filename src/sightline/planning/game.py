"""Games as models: what follows every action, whose turn it is, and what a network sees of it.

    game = Game(CONNECT_FOUR)
    step = game.root(game.start(1))
    step = game.step(step.state, np.array([3]), rng)      # reward 1 to the one who won, discount -1: the other is next

Logits are 0 for every legal action and values 0: an evaluator fills them. States are those of `envs/in_a_row.py`, a
pair of whole numbers each; `open_spiel.py` has other games.

Left out: the state behind what a network sees; `parse` and `played` make states.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from sightline.envs import in_a_row
from sightline.envs.in_a_row import TIC_TAC_TOE, Rules
from sightline.planning import jit, playouts
from sightline.planning.model import Step

State = Int[np.ndarray, "b 2"]


class Symmetries(NamedTuple):
    """Turns and mirrors that change nothing about a game; the first changes nothing at all."""

    cells: Int[np.ndarray, "s hw"]
    """Where each cell of the new board comes from."""
    actions: Int[np.ndarray, "s a"]
    """Where each action of the new board comes from."""


class Game:
    """A game of stones in a row: a `Model`.

    Args:
        rules: `TIC_TAC_TOE`, `CONNECT_FOUR`, or what `in_a_row` makes.
    """

    def __init__(self, rules: Rules = TIC_TAC_TOE) -> None:
        self.rules = rules
        self.num_actions = len(in_a_row.reaches(rules))
        self.symmetries = symmetries(rules)

    def start(self, b: int = 1) -> State:
        """Empty boards."""
        return in_a_row.start(b)

    def root(self, observation: State) -> Step:
        """These boards; nobody moved before, so the discount is 1, or 0 where all is over.

        Raises:
            ValueError: one is no board of this game.
        """
        in_a_row.check(self.rules, observation)
        return self._step(observation, np.zeros(len(observation), np.float32), 1)

    def step(self, state: State, action: Int[np.ndarray, " b"], rng: np.random.Generator | None = None) -> Step:
        """One stone on every board; nothing is random.

        Raises:
            ValueError: an action is illegal.
        """
        if jit.COMPILED:
            step = self._moved(state, action)
            if step is not None:
                return step
        return self._by_arrays(state, action)

    def _by_arrays(self, state: State, action: Int[np.ndarray, " b"]) -> Step:
        state = in_a_row.step(self.rules, state, action)
        return self._step(state, (in_a_row.won(self.rules, state[:, 1]) != 0).astype(np.float32), -1)

    def _moved(self, state: State, action: Int[np.ndarray, " b"]) -> Step | None:
        """The same in one compiled loop; None where an action is illegal."""
        b = len(state)
        after, logits = np.empty((b, 2), np.int64), np.empty((b, self.num_actions), np.float32)
        reward, discount, value = np.zeros((3, b), np.float32)
        wrong = playouts.moved(self.rules, state, action, self.num_actions, after, reward, discount, logits)
        return Step(after, reward, discount, logits, value) if wrong < 0 else None

    def _step(self, state: State, reward: Float32[np.ndarray, " b"], turn: int) -> Step:
        discount = np.where(in_a_row.over(self.rules, state), np.float32(0), np.float32(turn))
        logits = np.where(in_a_row.legal(self.rules, state), np.float32(0), np.float32(-np.inf))
        return Step(state, reward, discount, logits, np.zeros(len(state), np.float32))

    def observation(self, state: State) -> Float32[np.ndarray, "b 2 h w"]:
        """The board as the one to move sees it: own stones, the other's."""
        return in_a_row.planes(self.rules, state)

    def symmetric(
        self, observation: Float[np.ndarray, "b c h w"], policy: Float[np.ndarray, "b a"]
    ) -> tuple[Float[np.ndarray, "s b c h w"], Float[np.ndarray, "s b a"]]:
        """All boards that are the same one turned and mirrored, and their policies."""
        flat = observation.reshape(*observation.shape[:2], -1)
        turned = np.stack([flat[:, :, cells].reshape(observation.shape) for cells in self.symmetries.cells])
        return turned, np.stack([policy[:, actions] for actions in self.symmetries.actions])

    def playouts(self, state: State, rng: np.random.Generator, count: int = 1) -> Float[np.ndarray, " b"]:
        """The mean result of random games for the one to move."""
        return playouts.playouts(self.rules, state, rng, count)

    def show(self, state: Int[np.ndarray, "2"]) -> str:
        """One board for people."""
        return in_a_row.show(self.rules, state)

    def parse(self, text: str) -> Int[np.ndarray, "1 2"]:
        """The board that `show` writes.

        Raises:
            ValueError: it is none.
        """
        return in_a_row.parse(self.rules, text)

    def played(self, moves: Iterable[int]) -> Int[np.ndarray, "1 2"]:
        """The board after these actions, from the empty one.

        Raises:
            ValueError: one of them is illegal.
        """
        return in_a_row.played(self.rules, moves)


def symmetries(rules: Rules) -> Symmetries:
    """Those of a game: eight of a square board, four of an oblong one, two where stones drop."""
    board = np.arange(rules.width * rules.height).reshape(rules.height, rules.width)
    if rules.drop:
        every = [board, board[:, ::-1]]
    else:
        turns = (0, 1, 2, 3) if rules.width == rules.height else (0, 2)
        every = [np.rot90(side, turn) for side in (board, board[:, ::-1]) for turn in turns]
    flat = np.stack([one.reshape(-1) for one in every])
    return Symmetries(flat, flat[:, : rules.width] if rules.drop else flat)
