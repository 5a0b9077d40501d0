"""The networks of soft actor-critic: an actor, two critics of actions, and a temperature.

    network = make_soft_actor_critic(env.observation_space, env.action_space)
    distribution = network.unit(observation)                    # tanh of a Gaussian, in [-1, 1]
    value = network.critics[0](observation, action)             # of an action in [-1, 1]

The critics see actions as the tanh left them, in [-1, 1], and entropies are of those; `to_space` stretches them to the
box. What a rollout keeps is the number before the tanh, as for every squashed Gaussian. Each network has a body of its
own, encoders included. It has the face of `policy.py`.

Left out: more than two critics, gSDE, memories.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn

from sightline.rl.distributions import ActionFit, Gaussian, SquashedGaussian, fit_distribution
from sightline.rl.policies.body import Body, is_image, make_mlp, orthogonal, parts_of
from sightline.rl.policies.face import Forgetful
from sightline.rl.policies.policy import make_body
from sightline.rl.policies.q_network import refuse_settings
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.trees import Arrays

LOG_SCALE = (-20.0, 2.0)  # of the authors' code


class Actor(nn.Module):
    """Mean and log-scale of every number of an action."""

    def __init__(self, body: Body, numbers: int) -> None:
        super().__init__()
        self.body, self.head = body, orthogonal(nn.Linear(body.width, 2 * numbers), 0.01)

    def forward(self, observation: Arrays) -> Float[Tensor, "n k"]:
        """Means, then log-scales."""
        return self.head(self.body(observation))


class Critic(nn.Module):
    """What return to expect from an action, entropies included."""

    def __init__(self, body: Body, numbers: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.body, self.mlp = body, make_mlp(body.width + numbers, hidden, activation)
        self.head = orthogonal(nn.Linear(hidden[-1] if hidden else body.width + numbers, 1), 1.0)

    def forward(self, observation: Arrays, action: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Of actions in [-1, 1]."""
        return self.head(self.mlp(torch.cat([self.body(observation), action], 1))).squeeze(-1)


class Temperature(nn.Module):
    """How much an entropy of one nat is worth, by its logarithm."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([start]).log())


class SoftActorCritic(Forgetful, nn.Module):
    """All that SAC learns.

    Args:
        actor: of the action's numbers.
        critics: two.
        fit: of a squashed Gaussian whose scale depends on the state.
        temperature: at first.
    """

    def __init__(self, actor: Actor, critics: list[Critic], fit: ActionFit, temperature: float = 1.0) -> None:
        super().__init__()
        self.fit, self.actor, self.critics = fit, actor, nn.ModuleList(critics)
        self.temperature = Temperature(temperature)

    def unit(self, observation: Arrays) -> SquashedGaussian:
        """What to do, in [-1, 1]."""
        inner = self._inner(self.actor(observation))
        one = torch.ones_like(inner.mean[0])
        return SquashedGaussian(inner, -one, one)

    def worst(self, critics: nn.Module, observation: Arrays, action: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The smaller of two critics' values."""
        first, second = (critic(observation, action) for critic in critics.children())
        return torch.minimum(first, second)

    @property
    def actor_body(self) -> Body:
        """The actor's."""
        return self.actor.body

    def heads(
        self, features: tuple[Tensor, Tensor], observation: Arrays
    ) -> tuple[SquashedGaussian, Float[Tensor, " n"]]:
        """What to do, and the smaller value of the mean action."""
        distribution = self.distribution_from(features[0], observation)
        return distribution, self.worst(self.critics, observation, distribution.inner.mean.tanh())

    def distribution_from(self, features: Float[Tensor, "n w"], observation: Arrays) -> SquashedGaussian:
        """What to do, in the box."""
        inner = self._inner(self.actor.head(features))
        distribution = self.fit.distribution(torch.cat([inner.mean, inner.log_scale], -1))
        assert isinstance(distribution, SquashedGaussian)
        return distribution

    def act(
        self, features: Float[Tensor, "n w"], observation: Arrays, noise: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        """An action each, before the tanh."""
        return self._inner(self.actor.head(features)).sample(noise)

    def draw(self, distribution: Any, noise: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The same from a distribution."""
        return distribution.inner.sample(noise)

    def mode(self, distribution: Any) -> Float[Tensor, "n d"]:
        """The mean, before the tanh."""
        return distribution.inner.mode()

    def to_space(self, raw: Float[np.ndarray, "n d"]) -> np.ndarray:
        """Actions as the environments' `step` takes them."""
        return self.fit.from_raw(raw)

    def _inner(self, outputs: Float[Tensor, "n k"]) -> Gaussian:
        mean, log_scale = outputs.chunk(2, -1)
        return Gaussian(mean, log_scale.clamp(*LOG_SCALE))


def make_soft_actor_critic(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    settings: PolicySettings | None = None,
    *,
    temperature: float = 1.0,
    trust: bool = False,
) -> SoftActorCritic:
    """New networks for one environment's spaces, their weights from PyTorch's global random state.

    Raises:
        ValueError: actions that are no finite box of floats, or settings that do not fit.
    """
    settings = settings or PolicySettings()
    if not (isinstance(action_space, spaces.Box) and np.issubdtype(action_space.dtype, np.floating)):
        raise ValueError(
            f"SAC gives real numbers and the action space is {action_space}: use dqn or ppo, or an environment whose "
            "action space is a Box of floats"
        )
    finite = np.isfinite(action_space.low).all() and np.isfinite(action_space.high).all()
    if not (finite and action_space.shape and (action_space.low < action_space.high).all()):
        raise ValueError(
            f"SAC squashes actions into a finite box of positive width, got {action_space}: bound it, or use ppo"
        )
    refuse_settings("SAC", settings)
    fit = fit_distribution(action_space, scale="state", squash=True)
    wide, images = (256, 256), any(is_image(part) for _, part in parts_of(observation_space))
    bare = replace(settings, hidden=(0,))
    hidden = () if settings.hidden == (0,) else settings.hidden or ((128,) if images else wide)
    actor = make_body(observation_space, settings, hidden=wide, activation="relu", trust=trust)
    critics = [
        Critic(make_body(observation_space, bare, trust=trust), fit.noise, hidden, settings.activation or "relu")
        for _ in range(2)
    ]
    return SoftActorCritic(Actor(actor, fit.noise), critics, fit, temperature)
