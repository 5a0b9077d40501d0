"""Any game of OpenSpiel as a model (extra `games`): Lanctot et al. (2019), "OpenSpiel: a framework for reinforcement
learning in games".

    game = OpenSpiel("connect_four")
    step = game.root([game.new()])

A state is a list of `pyspiel.State`, none of which is ever changed. Dice and cards have places of their own, where
nobody moves, as `model.py` says; such a place counts as the first player's, so that its value needs no history.

Left out, and refused: more than two players, simultaneous moves, hidden information, chance that is only sampled, two
players whose results do not sum to zero.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from sightline.planning.model import Step

FIRST = 0


class OpenSpiel:
    """A game of OpenSpiel: a `Model`.

    Args:
        game: a name with arguments, as OpenSpiel writes them, or a `pyspiel.Game`.
        gamma: the discount of every move.

    Raises:
        ValueError: OpenSpiel does not know it, or it is of a kind that a tree search here cannot play.
        ModuleNotFoundError: OpenSpiel is not installed.
    """

    def __init__(self, game: Any, *, gamma: float = 1.0) -> None:
        try:
            import pyspiel
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                f"the game {game} needs OpenSpiel, which is not installed: pip install 'sightline[games]'"
            ) from None
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma, the discount, lies in (0, 1], got {gamma}")
        if isinstance(game, str) and game.partition("(")[0] not in pyspiel.registered_names():
            raise ValueError(f"OpenSpiel knows no game '{game}': pyspiel.registered_names() lists those that it knows")
        try:
            self.game = pyspiel.load_game(game) if isinstance(game, str) else game
        except (pyspiel.SpielError, IndexError) as error:
            raise ValueError(f"OpenSpiel cannot make the game '{game}': {str(error).splitlines()[0]}") from None
        kind = self.game.get_type()
        for wrong, what in (
            (self.game.num_players() > 2, f"has {self.game.num_players()} players"),
            (kind.dynamics != kind.Dynamics.SEQUENTIAL, "lets players move at the same time"),
            (kind.information != kind.Information.PERFECT_INFORMATION, "hides something from its players"),
            (kind.chance_mode == kind.ChanceMode.SAMPLED_STOCHASTIC, "does not say how probable its chance is"),
            (
                self.game.num_players() == 2 and kind.utility != kind.Utility.ZERO_SUM,
                "gives its players results that do not sum to zero",
            ),
        ):
            if wrong:
                raise ValueError(
                    f"{kind.short_name} {what}: a search here plays games of one or two players who take turns, see "
                    "everything and, if two, win what the other loses"
                )
        self.gamma = gamma
        self.num_actions = int(self.game.num_distinct_actions())
        self.outcomes = int(self.game.max_chance_outcomes())

    def new(self) -> Any:
        """The first state."""
        return self.game.new_initial_state()

    def root(self, observation: list[Any]) -> Step:
        """These states, as a list of `pyspiel.State`; they are copied."""
        states = [state.clone() for state in observation]
        return self._step(states, np.zeros(len(states)), [_owner(state) for state in states])

    def step(self, state: list[Any], action: Int[np.ndarray, " b"], rng: np.random.Generator | None = None) -> Step:
        """What follows each; where nobody moves, the action is the number of the outcome. Nothing is drawn.

        Raises:
            ValueError: an action is illegal, or there is no such outcome.
        """
        after, reward, movers = [], np.zeros(len(state)), []
        for i, (one, chosen) in enumerate(zip(state, action.tolist(), strict=True)):
            nobody = one.is_chance_node()
            possible = range(len(one.chance_outcomes())) if nobody else one.legal_actions()
            if chosen not in possible:
                what = "outcome" if nobody else "action"
                raise ValueError(
                    f"{what} {chosen} in state {i} is illegal: there "
                    + (f"is {', '.join(map(str, possible))}" if len(possible) else "is none, the game is over")
                )
            mover = _owner(one)
            after.append(one.child(one.chance_outcomes()[chosen][0] if nobody else chosen))
            reward[i] = after[-1].rewards()[mover]
            movers.append(mover)
        return self._step(after, reward, movers)

    def chance(self, state: list[Any]) -> Float[np.ndarray, "b k"]:
        """How probable each outcome is; a row of zeros where a player moves."""
        found = np.zeros((len(state), max(1, self.outcomes)))
        for row, one in zip(found, state, strict=True):
            if one.is_chance_node():
                probabilities = [probability for _, probability in one.chance_outcomes()]
                row[: len(probabilities)] = probabilities
        return found

    def _step(self, states: list[Any], reward: Float[np.ndarray, " b"], movers: list[int]) -> Step:
        logits = np.full((len(states), self.num_actions), -np.inf, np.float32)
        discount = np.zeros(len(states), np.float32)
        for i, (one, mover) in enumerate(zip(states, movers, strict=True)):
            if one.is_terminal():
                continue
            discount[i] = self.gamma if _owner(one) == mover else -self.gamma
            if not one.is_chance_node():
                logits[i, one.legal_actions()] = 0
        return Step(states, reward.astype(np.float32), discount, logits, np.zeros(len(states), np.float32))

    def observation(self, state: list[Any]) -> Float32[np.ndarray, "b *c"]:
        """OpenSpiel's own tensor of each, as the one to move sees it.

        Raises:
            ValueError: the game has none.
        """
        if not self.game.get_type().provides_observation_tensor:
            raise ValueError(f"{self.game.get_type().short_name} has no observation tensor: write one from its states")
        shape = self.game.observation_tensor_shape()
        rows = [one.observation_tensor(max(FIRST, one.current_player())) for one in state]
        return np.array(rows, np.float32).reshape(len(state), *shape)

    def show(self, state: Any) -> str:
        """One state for people."""
        return str(state)

    def played(self, moves: list[int]) -> list[Any]:
        """The state after these actions, from the first one, as a list of one."""
        state = [self.new()]
        for move in moves:
            state = self.step(state, np.array([move], np.int64)).state
        return state


def _owner(state: Any) -> int:
    """Who moves, or whose place it counts as."""
    return FIRST if state.is_chance_node() else int(state.current_player())
