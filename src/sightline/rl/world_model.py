"""A learned model of an environment: what observation, reward and ending follow an action, and how sure that is.

An ensemble (`ensemble.py`) learns the change of the observation and the reward from all that was lived through, brought
to mean 0 and deviation 1. It is a `planning.Model`: Dyna rolls `step` out from replayed states (`deep_dyna.py`), and a
tree search takes the same object. Every step is made by an elite, one of those that err least, drawn at random, its own
noise added (Chua et al., 2018, https://arxiv.org/abs/1805.12114, section 5.1, TS-1). Observations stay within the
space.

Whether the episode terminates is asked of where the step led: of a given function, or of a second ensemble, which
throws a coin of its probability. One network for both learned the endings badly: what is known precisely drowns what is
rare.

A prediction's doubt is how far the elites lie apart, in units of what they do on nearly all of the steps held out (the
0.99 quantile): from twice as far on, `OUTSIDE`, the model is asked outside of its data.

Left out: images and other observations that are not one row of numbers; rewards that are known.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Float32, Int, Shaped

from sightline.planning.model import Step
from sightline.rl.ensemble import Ensemble, Gaussians, Learned, learn

# `(observation [n, d], action, next_observation [n, d]) -> [n]`, True where the episode terminated
Ending = Callable[[np.ndarray, np.ndarray, np.ndarray], Bool[np.ndarray, " n"]]
# `(observation [n, d]) -> logits [n, a], value [n]`, which a search may begin with
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
USUAL, OUTSIDE = 0.99, 2.0
SMALL = 1e-6  # a deviation below is that of a number which does not change


@dataclass(frozen=True)
class WorldModelSettings:
    """How a model is learned."""

    members: int = 7
    """Networks of the ensemble."""
    elites: int = 5
    """Of them, those that predict: the ones that err least."""
    hidden: tuple[int, ...] = (128, 128, 128)
    """Sizes of hidden layers."""
    learning_rate: float = 1e-3
    """Of Adam."""
    decay: float = 1e-5
    """Of the weights."""
    batch: int = 256
    """Steps of an update."""
    held_out: float = 0.2
    """Share of all steps that nothing learns from, which say when to stop, who is an elite and what doubt is usual."""
    patience: int = 5
    """Passes without progress before a network is done."""
    passes: int = 100
    """Passes over the steps, at most."""
    ending: str = "learned"
    """What says that an episode terminated: learned, never, or package.module:function(observation, action, next)."""


@dataclass(frozen=True)
class Prediction:
    """What is believed to follow, before any coin is thrown."""

    observation: Float[np.ndarray, "n d"]
    """Its mean over elites."""
    spread: Float[np.ndarray, "n d"]
    """Its standard deviation, of chance and of what is not known together."""
    reward: Float[np.ndarray, " n"]
    ending: Float[np.ndarray, " n"]
    """Probability that the episode terminates; of the learned ending."""
    doubt: Float[np.ndarray, " n"]
    """Above `OUTSIDE`: outside of the data."""


class OutsideData(UserWarning):
    """A model was asked about what is unlike all that it has learned from."""


class WorldModel:
    """A model of one environment, learned anew as steps come.

    Args:
        observation_space: a Box of one axis.
        action_space: a Discrete from 0 or a Box of one axis.
        settings: how it is learned.
        gamma: the discount of a step that ends nothing.
        ending: in place of the learned one.
        evaluate: what a search begins with; none: nothing is preferred and all is worth 0.
        device: where the networks are.

    Raises:
        ValueError: spaces that it does not serve, or settings that cannot be.
    """

    stochastic = True  # a search keeps several outcomes of an action

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        settings: WorldModelSettings | None = None,
        *,
        gamma: float = 0.99,
        ending: Ending | None = None,
        evaluate: Evaluate | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings = settings or WorldModelSettings()
        _check(self.settings)
        seen, acted = _spaces(observation_space, action_space)
        self.observation_space, self.action_space, self.gamma = seen, acted, gamma
        self.ending, self.evaluate = ending, evaluate
        self.num_actions = int(acted.n) if isinstance(acted, spaces.Discrete) else 0
        numbers = seen.shape[0]
        inputs = numbers + (self.num_actions or int(np.prod(acted.shape or ())))
        if isinstance(acted, spaces.Box):
            self.propose = self._propose  # a search looks whether there is one: a choice proposes itself
        members, hidden = self.settings.members, self.settings.hidden
        self.network = Gaussians(members, inputs, numbers + 1, hidden).to(device)
        self.ends = Ensemble(members, numbers, 1, hidden[-1:]).to(device)
        self.device = self.network.highest.device
        self.elites = self.end_elites = np.arange(self.settings.elites)
        self.ended = False  # whether an episode ever terminated
        self.usual = float("inf")  # before there are data everything is outside of them, and nothing can be said
        self.error = float("nan")  # of the elites on what was held out, in deviations: root mean square
        self._input, self._output = (np.stack([np.zeros(n), np.ones(n)]) for n in (inputs, numbers + 1))

    @property
    def learned(self) -> bool:
        """Whether it has learned anything yet."""
        return math.isfinite(self.usual)

    def fit(
        self,
        observation: Float[np.ndarray, "n d"],
        action: Shaped[np.ndarray, "n ..."],
        reward: Float[np.ndarray, " n"],
        terminated: Bool[np.ndarray, " n"],
        next_observation: Float[np.ndarray, "n d"],
        *,
        rng: np.random.Generator,
        place: Int[np.ndarray, " n"] | None = None,
    ) -> Learned:
        """Learn from steps, on top of what was learned.

        Args:
            observation: what was acted upon.
            action: as the environment took it.
            reward: what it gave.
            terminated: whether it ended there.
            next_observation: what followed; an episode's last observation where it ended.
            rng: of everything random here.
            place: a number of each step that stays its own, so that one held out is held out the next time as well.

        Raises:
            ValueError: too few steps, or an error that is no number.
        """
        x = self._encode(observation, action)
        y = np.concatenate([next_observation.astype(np.float64) - observation, reward[:, None]], 1)
        held_out = np.flatnonzero(_held_out(np.arange(len(x)) if place is None else place, self.settings.held_out))
        if len(x) < 10 or not len(held_out) or len(held_out) == len(x):
            raise ValueError(
                f"a model is learned from 10 steps or more of which some are held out, got {len(x)}: take more first "
                "(--sac.starts, --dqn.starts)"
            )
        self._input, self._output = _scale(x), _scale(y)
        how: Any = {
            "learning_rate": self.settings.learning_rate,
            "decay": self.settings.decay,
            "batch": self.settings.batch,
            "patience": self.settings.patience,
            "most": self.settings.passes,
        }
        found = learn(self.network, _normal(x, self._input), _normal(y, self._output), held_out, rng, **how)
        self.elites = self._best(found)
        mean, _ = self._all(x[held_out])
        self.error = float(np.sqrt(np.square(mean - _normal(y[held_out], self._output)).mean()))
        self.usual = max(float(np.quantile(_apart(mean), USUAL)), SMALL)
        if self.ending is None and terminated.any():
            self.ended = True
            after, over = self._places(next_observation), terminated.astype(np.float32)[:, None]
            self.end_elites = self._best(learn(self.ends, after, over, held_out, rng, **how))
        return found

    def predict(self, observation: Float[np.ndarray, "n d"], action: Shaped[np.ndarray, "n ..."]) -> Prediction:
        """What follows and how sure that is; a warning where it is asked outside of its data.

        Raises:
            ValueError: nothing was learned yet.
        """
        if not self.learned:
            raise ValueError("the model has learned nothing yet: fit it to some steps first")
        mean, variance = self._all(self._encode(observation, action))
        doubt = _apart(mean) / self.usual
        count = int((doubt > OUTSIDE).sum())
        if count:
            warnings.warn(
                f"{count} of {len(doubt)} predictions lie outside of the model's data: its networks "
                f"differ up to {doubt.max():.3g} times as far as they usually do; trust the spread, or take real steps "
                "there and fit again",
                OutsideData,
                stacklevel=2,
            )
        spread = np.sqrt(variance.mean(0) + mean.var(0)) * self._output[1]
        change = mean.mean(0) * self._output[1] + self._output[0]
        after = self._within(observation + change[:, :-1])
        return Prediction(
            observation=after,
            spread=spread[:, :-1],
            reward=change[:, -1],
            ending=self._chances(np.broadcast_to(after, (len(self.end_elites), *after.shape))).mean(0),
            doubt=doubt,
        )

    def doubt(self, observation: Float[np.ndarray, "n d"], action: Shaped[np.ndarray, "n ..."]) -> np.ndarray:
        """How far the elites lie apart; above `OUTSIDE`: outside of the data. [n]"""
        return _apart(self._all(self._encode(observation, action))[0]) / self.usual

    def root(self, observation: Float[np.ndarray, "b d"]) -> Step:
        """Where planning begins."""
        still = np.zeros(len(observation), np.float32)
        return self._arrive(observation, still, still + np.float32(self.gamma))

    def step(
        self, state: Float[np.ndarray, "b d"], action: Shaped[np.ndarray, "b ..."], rng: np.random.Generator
    ) -> Step:
        """Where actions lead, each by an elite of its own; states are observations."""
        count, each = len(state), max(-(-len(state) // len(self.elites)), 1)
        x = _normal(self._encode(state, action), self._input)
        order = rng.permutation(each * len(self.elites))
        padded = np.concatenate([x, np.zeros((len(order) - count, x.shape[1]), np.float32)])[order]
        mean, log_variance = self._forward(padded.reshape(len(self.elites), each, x.shape[1]))
        drawn = mean + np.exp(0.5 * log_variance) * rng.standard_normal(mean.shape, np.float32)
        back = np.argsort(order)[:count]
        change = drawn.reshape(len(order), drawn.shape[2])[back] * self._output[1] + self._output[0]
        after = self._within(state + change[:, :-1])
        if self.ending is None:
            led = np.zeros((len(order), after.shape[1]), after.dtype)
            led[back] = after
            over = rng.random(count) < self._chances(led.reshape(*mean.shape[:2], -1)).reshape(len(order))[back]
        else:
            over = np.asarray(self.ending(state, action, after), bool)
        discount = np.where(over, np.float32(0), np.float32(self.gamma))
        return self._arrive(after, change[:, -1].astype(np.float32), discount)

    def _propose(self, state: Float[np.ndarray, "b d"], k: int, rng: np.random.Generator) -> np.ndarray:
        """Actions worth trying where they are real numbers, uniform in the box. [b, k, a]"""
        space = self.action_space
        assert isinstance(space, spaces.Box)
        return rng.uniform(space.low, space.high, (len(state), k, *space.shape)).astype(space.dtype)

    def state_dict(self) -> dict[str, Any]:
        """All of it, exact."""
        return {
            "network": self.network.state_dict(),
            "ends": self.ends.state_dict(),
            "elites": [self.elites.tolist(), self.end_elites.tolist()],
            "ended": self.ended,
            "scales": [self._input.copy(), self._output.copy()],
            "usual": self.usual,
            "error": self.error,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back.

        Raises:
            ValueError: it is of another model.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.ends.load_state_dict(state["ends"])
        except RuntimeError as error:
            raise ValueError("the saved model has other networks: give the --world settings that it has") from error
        self.elites, self.end_elites = (np.array(one) for one in state["elites"])
        self.ended = state["ended"]
        self._input, self._output = state["scales"]
        self.usual, self.error = state["usual"], state["error"]

    def _encode(self, observation: np.ndarray, action: np.ndarray) -> Float[np.ndarray, "n i"]:
        """What the networks read, as it is."""
        if self.num_actions:
            told: np.ndarray = np.eye(self.num_actions)[action]
        else:
            told = action.reshape(len(action), math.prod(action.shape[1:]))
        return np.concatenate([observation, told], 1, dtype=np.float64)

    def _all(self, x: Float[np.ndarray, "n i"]) -> tuple[Float[np.ndarray, "m n o"], Float[np.ndarray, "m n o"]]:
        """Means and variances by every elite, in the networks' units."""
        mean, log_variance = self._forward(np.broadcast_to(_normal(x, self._input), (len(self.elites), *x.shape)))
        return mean, np.exp(log_variance)

    @torch.inference_mode()
    def _forward(self, x: Float32[np.ndarray, "m n i"]) -> tuple[np.ndarray, np.ndarray]:
        """The elites' means and log-variances, each of its own rows."""
        rows = torch.from_numpy(np.ascontiguousarray(x)).to(self.device)
        mean, log_variance = self.network(rows, torch.from_numpy(self.elites))
        return mean.numpy(force=True), log_variance.numpy(force=True)

    @torch.inference_mode()
    def _chances(self, after: Float[np.ndarray, "m n d"]) -> Float[np.ndarray, "m n"]:
        """How probable it is to each elite that its own rows terminated; 0 as long as nothing ever did."""
        if not self.ended:
            return np.zeros(after.shape[:2])
        rows = torch.from_numpy(self._places(after)).to(self.device)
        logit = self.ends(rows, torch.from_numpy(self.end_elites)).squeeze(-1).numpy(force=True)
        return 1 / (1 + np.exp(-logit.astype(np.float64)))

    def _places(self, observation: Float[np.ndarray, "*n d"]) -> Float32[np.ndarray, "*n d"]:
        """Observations as the networks of the ending read them."""
        return _normal(observation, self._input[:, : observation.shape[-1]])

    def _best(self, found: Learned) -> Int[np.ndarray, " e"]:
        return np.sort(np.argsort(found.error, kind="stable")[: self.settings.elites])

    def _within(self, observation: np.ndarray) -> np.ndarray:
        space = self.observation_space
        return np.clip(observation, space.low, space.high).astype(space.dtype)

    def _arrive(self, observation: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> Step:
        if self.evaluate is None:
            logits = np.zeros((len(observation), self.num_actions), np.float32)
            value = np.zeros(len(observation), np.float32)
        else:
            logits, value = self.evaluate(observation)
        return Step(observation, reward, discount, logits, value)


def _apart(mean: Float[np.ndarray, "m n o"]) -> Float[np.ndarray, " n"]:
    """How far the means lie apart, over all outputs."""
    return np.sqrt(mean.var(0).mean(-1))


def _held_out(place: Int[np.ndarray, " n"], share: float) -> Bool[np.ndarray, " n"]:
    """Which are held out: a hash of their places says so (Knuth's, multiplicative), the same whenever it is asked."""
    return (place.astype(np.uint64) * np.uint64(2654435761) % np.uint64(2**32)) < np.uint64(share * 2**32)


def _scale(x: Float[np.ndarray, "n i"]) -> Float[np.ndarray, "2 i"]:
    """Means and deviations; exactly 0 where nothing changes, so that nothing is predicted to."""
    deviation = x.std(0)
    return np.stack([x.mean(0), np.where(deviation < SMALL, 0.0, deviation)])


def _normal(x: Float[np.ndarray, "*n i"], scale: Float[np.ndarray, "2 i"]) -> Float32[np.ndarray, "*n i"]:
    return ((x - scale[0]) / np.where(scale[1] == 0, 1.0, scale[1])).astype(np.float32)


def _spaces(seen: spaces.Space[Any], acted: spaces.Space[Any]) -> tuple[spaces.Box, spaces.Box | spaces.Discrete]:
    if not (isinstance(seen, spaces.Box) and len(seen.shape) == 1 and np.issubdtype(seen.dtype, np.floating)):
        raise ValueError(
            f"a world model predicts observations that are one row of floats and the space is {seen}: use sac, dqn or "
            "ppo, or wrap the environment"
        )
    if isinstance(acted, spaces.Discrete) and int(acted.start) == 0:
        return seen, acted
    if not (isinstance(acted, spaces.Box) and len(acted.shape) == 1):
        raise ValueError(
            f"a world model is asked about a choice from 0 or one row of numbers and the action space is {acted}: wrap "
            "the environment"
        )
    return seen, acted


def _check(settings: WorldModelSettings) -> None:
    for name in ("members", "elites", "batch", "patience", "passes"):
        if getattr(settings, name) < 1:
            raise ValueError(
                f"a world model's {name} is 1 or more, got {getattr(settings, name)}: "
                f"{getattr(WorldModelSettings, name)} is the default"
            )
    if settings.elites > settings.members:
        raise ValueError(f"{settings.elites} elites cannot be chosen from {settings.members} members: add members")
    if not 0 < settings.held_out < 1:
        raise ValueError(f"a share of the steps in (0, 1) is held out, got {settings.held_out}: 0.2 is the default")
    if not (settings.learning_rate > 0 and settings.decay >= 0):
        raise ValueError(
            "a world model's learning_rate lies above 0 and its decay is 0 or more, got "
            f"{settings.learning_rate} and {settings.decay}"
        )
