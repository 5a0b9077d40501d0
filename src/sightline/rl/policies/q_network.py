"""A network of action values: what return to expect from each action of a Discrete space.

    network = make_q_network(env.observation_space, env.action_space)
    values = network.values(observation)                        # [n, a]; -inf where an action is forbidden

Duelling (Wang et al., 2016, https://arxiv.org/abs/1511.06581, equation 9): Q = V + A - mean_a A. Both are linear in the
same features here; the hidden layers of their own that the paper gives each stream are left out, as is its scaling of
the gradients where the streams meet.

It acts epsilon-greedily; `epsilon` is saved with the weights. It has the face of `policy.py`, so that whatever acts,
evaluates or plays with a policy does so with it.

Left out: several choices at once, distributions of returns, memories.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.rl.distributions import ActionFit, EpsilonGreedy, fit_distribution
from sightline.rl.policies.body import Body, mask_of, orthogonal
from sightline.rl.policies.face import Forgetful
from sightline.rl.policies.policy import check_mask, make_body
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.trees import Arrays


class QNetwork(Forgetful, nn.Module):
    """Values of all actions.

    Args:
        body: makes features.
        fit: from `fit_distribution`, of a Discrete space.
        duelling: whether a value and advantages are added up.
    """

    epsilon: Float[Tensor, ""]

    def __init__(self, body: Body, fit: ActionFit, *, duelling: bool = False) -> None:
        super().__init__()
        self.fit, self.actor_body, self.duelling = fit, body, duelling
        self.head = orthogonal(nn.Linear(body.width, fit.outputs + duelling), 1.0)  # the last output is V
        self.register_buffer("epsilon", torch.zeros(()))

    def forward(self, observation: Arrays) -> Float[Tensor, "n a"]:
        """The same as `values`."""
        return self.values(observation)

    def values(self, observation: Arrays) -> Float[Tensor, "n a"]:
        """What return to expect from each action, -inf from those that the observation's mask forbids."""
        return self.values_from(self.actor_body(observation), observation)

    def values_from(self, features: Float[Tensor, "n w"], observation: Arrays) -> Float[Tensor, "n a"]:
        """The same from features."""
        out = self.head(features)
        if self.duelling:
            advantage, value = out[:, :-1], out[:, -1:]
            out = value + advantage - advantage.mean(1, keepdim=True)
        mask = mask_of(observation)
        return out if mask is None else out.masked_fill(~mask, -torch.inf)

    def explore(self, epsilon: float) -> None:
        """From now on, with what probability any action is taken."""
        self.epsilon.fill_(epsilon)

    def heads(self, features: tuple[Tensor, Tensor], observation: Arrays) -> tuple[EpsilonGreedy, Float[Tensor, " n"]]:
        """What to do, and the value of the best action."""
        distribution = self.distribution_from(features[0], observation)
        return distribution, distribution.values.amax(-1)

    def distribution_from(self, features: Float[Tensor, "n w"], observation: Arrays) -> EpsilonGreedy:
        """What to do."""
        return EpsilonGreedy(self.values_from(features, observation), self.epsilon)

    def act(
        self, features: Float[Tensor, "n w"], observation: Arrays, noise: Float[Tensor, "n a"]
    ) -> Int[Tensor, " n"]:
        """An action each."""
        return self.distribution_from(features, observation).sample(noise)

    def draw(self, distribution: Any, noise: Float[Tensor, "n a"]) -> Int[Tensor, " n"]:
        """An action each."""
        return distribution.sample(noise)

    def mode(self, distribution: Any) -> Int[Tensor, " n"]:
        """The best action."""
        return distribution.mode()

    def to_space(self, raw: Int[np.ndarray, " n"]) -> np.ndarray:
        """Actions as the environments' `step` takes them."""
        return self.fit.from_raw(raw)


def make_q_network(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    settings: PolicySettings | None = None,
    *,
    duelling: bool = False,
    encoder: nn.Module | None = None,
    trust: bool = False,
) -> QNetwork:
    """A new network for one environment's spaces, its weights from PyTorch's global random state.

    Raises:
        ValueError: actions that are no Discrete space, or settings that do not fit.
    """
    settings = settings or PolicySettings()
    if not isinstance(action_space, spaces.Discrete):
        raise ValueError(
            f"DQN values each of a few actions and the action space is {action_space}: use sac for a Box, or an "
            "environment whose action space is Discrete"
        )
    refuse_settings("DQN", settings)
    fit = fit_distribution(action_space)
    check_mask(observation_space, fit)
    body = make_body(observation_space, settings, encoder=encoder, activation="relu", trust=trust)
    return QNetwork(body, fit, duelling=duelling)


def refuse_settings(agent: str, settings: PolicySettings) -> None:
    """Settings of a policy that an agent with a replay has no use for.

    Raises:
        ValueError: one of them is set.
    """
    given = {
        "--memory": settings.memory != 0,
        "--squash": settings.squash,
        "--scale state": settings.scale != "free",
        "--shared": settings.shared is not None,
    }
    asked = [name for name, is_set in given.items() if is_set]
    if asked:
        raise ValueError(f"{asked[0]} is for reinforce, a2c and ppo, and {agent} has no such choice: leave it out")
