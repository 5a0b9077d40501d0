"""A policy: what to do (actor) and what is to be expected (critic), from one body or from two.

    policy = make_policy(env.observation_space, env.action_space)
    distribution = policy.distribution(observation)             # of rows [n, ...]
    raw = policy.draw(distribution, noise)                      # what a rollout keeps
    env.step(policy.to_space(raw))

What a rollout keeps is `raw`: of a squashed Gaussian the number before the squashing, whose log-probability is exact
where the action itself has rounded to the border; of all others the action. The actor's last layer starts small
(gain 0.01), so that a new policy prefers nothing, and the log-scales of a Gaussian start at 0 (Andrychowicz et al.,
2021, https://arxiv.org/abs/2006.05990, section 3.2).

A policy with a memory reads more than the observation, see `memory.py`:

    past = policy.start(count)                                  # None without a memory: the lines below serve both
    features = policy.features(observation, past)
    distribution, value = policy.heads(features, observation)
    past = policy.after(features)                               # and Past.begins where an episode begins

Left out: several agents in one environment.
"""

import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sightline.rl.distributions import ActionFit, Distribution, SquashedGaussian, fit_distribution
from sightline.rl.policies.body import MASK, Body, image_channels, is_image, mask_of, orthogonal, parts_of
from sightline.rl.policies.encoders import build_encoder
from sightline.rl.policies.memory import Memory, Past
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.trees import Arrays

DEFAULT = PolicySettings()
Features = tuple[Tensor, Tensor]  # of actor and critic


class Policy(nn.Module):
    """Actor and critic over one observation space and one action space.

    Args:
        body: makes the actor's features.
        fit: from `fit_distribution`, of the action space.
        critic_body: makes the critic's; None: the actor's.
        memory: units of a memory behind each body; 0: none.
    """

    def __init__(self, body: Body, fit: ActionFit, critic_body: Body | None = None, memory: int = 0) -> None:
        super().__init__()
        self.fit = fit
        self.actor_body, self.critic_body = body, critic_body
        bodies = [body] if critic_body is None else [body, critic_body]
        widths = [memory or one.width for one in bodies]
        self.actor = orthogonal(nn.Linear(widths[0], fit.outputs), 0.01)
        self.critic = orthogonal(nn.Linear(widths[-1], 1), 1.0)
        self.memories = nn.ModuleList(Memory(one.width, memory) for one in bodies if memory)
        self.log_scale = nn.Parameter(torch.zeros(fit.free)) if fit.free else None

    @property
    def shared(self) -> bool:
        """Whether actor and critic read the same features."""
        return self.critic_body is None

    @property
    def plain(self) -> bool:
        """Whether actions as a rollout keeps them are those of the space, the clipping to a box apart."""
        return self.fit.plain

    @property
    def remembers(self) -> bool:
        """Whether it has a memory."""
        return len(self.memories) > 0

    def start(self, count: int) -> Past | None:
        """What is remembered before the first observation of so many episodes; None without a memory."""
        if not self.remembers:
            return None
        weight = self.actor.weight
        state = weight.new_zeros(count, len(self.memories), weight.shape[1])
        return Past(state, torch.ones(1, count, dtype=torch.bool, device=weight.device))

    def after(self, features: Features) -> Past | None:
        """What is remembered after a row of each environment, from its features; None without a memory."""
        if not self.remembers:
            return None
        state = self.states(features)
        return Past(state, torch.zeros(1, len(state), dtype=torch.bool, device=state.device))

    def states(self, features: Features) -> Float[Tensor, "n m u"]:
        """Of the memories, after every row: their outputs, which the heads read."""
        return torch.stack(features[: len(self.memories)], 1)

    def features(self, observation: Arrays, past: Past | None = None) -> Features:
        """What actor and critic read, `[n, w]` each; the same tensor where they share it.

        With a memory the n = t b rows are in the order of time, and `past` has t and b.
        """
        actor = self._read(0, self.actor_body, observation, past)
        return actor, actor if self.critic_body is None else self._read(1, self.critic_body, observation, past)

    def heads(self, features: Features, observation: Arrays) -> tuple[Distribution, Float[Tensor, " n"]]:
        """What to do and what to expect, from `features`; of the observation the mask of actions is read."""
        return self.distribution_from(features[0], observation), self.critic(features[1]).squeeze(-1)

    def distribution_from(self, features: Float[Tensor, "n w"], observation: Arrays) -> Distribution:
        """What to do, from the actor's features."""
        return self.fit.distribution(self.actor(features), self.log_scale, mask_of(observation))

    def distribution(self, observation: Arrays, past: Past | None = None) -> Distribution:
        """What to do, `[n, ...]`."""
        return self.distribution_from(self._read(0, self.actor_body, observation, past), observation)

    def value(self, observation: Arrays, past: Past | None = None) -> Float[Tensor, " n"]:
        """What return to expect."""
        place, body = (0, self.actor_body) if self.critic_body is None else (1, self.critic_body)
        return self.critic(self._read(place, body, observation, past)).squeeze(-1)

    def forward(self, observation: Arrays, past: Past | None = None) -> tuple[Distribution, Float[Tensor, " n"]]:
        """Both, from one pass where the body is shared."""
        return self.heads(self.features(observation, past), observation)

    def draw(self, distribution: Distribution, noise: Float[Tensor, "n k"]) -> Shaped[Tensor, "n ..."]:
        """An action as a rollout keeps it, from noise of the kind that `fit.draw` makes."""
        return distribution.inner.sample(noise) if isinstance(distribution, SquashedGaussian) else (
            distribution.sample(noise)
        )  # fmt: skip

    def act(
        self, features: Float[Tensor, "n w"], observation: Arrays, noise: Float[Tensor, "n k"]
    ) -> Shaped[Tensor, "n ..."]:
        """`draw` from the distribution that the actor's features give; a single choice needs no probabilities."""
        if isinstance(self.fit.space, spaces.Discrete) and mask_of(observation) is None:
            return (self.actor(features) + noise).argmax(-1)
        return self.draw(self.distribution_from(features, observation), noise)

    def mode(self, distribution: Distribution) -> Shaped[Tensor, "n ..."]:
        """The action without exploration, as a rollout keeps it."""
        return distribution.inner.mode() if isinstance(distribution, SquashedGaussian) else distribution.mode()

    def log_prob(self, distribution: Distribution, raw: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Log-probability of an action as a rollout keeps it."""
        if isinstance(distribution, SquashedGaussian):
            return distribution.log_prob_inner(raw)
        return distribution.log_prob(raw)

    def to_space(self, raw: Shaped[np.ndarray, "n ..."]) -> np.ndarray:
        """Actions as the environments' `step` takes them."""
        return self.fit.from_raw(raw)

    def _read(self, place: int, body: Body, observation: Arrays, past: Past | None) -> Float[Tensor, "n w"]:
        features = body(observation)
        if not self.remembers:
            return features
        if past is None:
            raise ValueError(
                "the policy has a memory and was not told what came before: give past, policy.start(n) say"
            )
        return self.memories[place](features, past.state[:, place], past.begins)


def make_policy(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    settings: PolicySettings = DEFAULT,
    *,
    encoder: nn.Module | None = None,
    trust: bool = False,
) -> Policy:
    """A new policy for one environment's spaces, its weights from PyTorch's global random state.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        settings: how it is built.
        encoder: of images, instead of the one that the settings name.
        trust: whether an encoder may come from outside sightline.

    Raises:
        ValueError: a space that no policy fits, or settings that do not fit the spaces.
    """
    if not isinstance(action_space, spaces.Box) and (settings.squash or settings.scale == "state"):
        raise ValueError(f"squash and scale are a Gaussian's, for actions in a Box, got {action_space}: leave them out")
    fit = fit_distribution(action_space, scale=settings.scale, squash=settings.squash)
    check_mask(observation_space, fit)
    images = any(is_image(part) for _, part in parts_of(observation_space))
    if settings.memory < 0:
        raise ValueError(f"a memory has 1 unit or more, 0 means none, got --memory {settings.memory}")
    first = make_body(observation_space, settings, encoder=encoder, trust=trust)
    critic = None
    if not (images if settings.shared is None else settings.shared):
        copied = copy.deepcopy(first.encoders[0]) if images else None
        critic = make_body(observation_space, settings, encoder=copied, trust=trust)
    return Policy(first, fit, critic, settings.memory)


def make_body(
    space: spaces.Space[Any],
    settings: PolicySettings,
    *,
    encoder: nn.Module | None = None,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "tanh",
    trust: bool = False,
) -> Body:
    """A new body for one environment's observations.

    Args:
        space: of one environment's observations.
        settings: how it is built.
        encoder: of images, instead of the one that the settings name.
        hidden: of the MLP where the settings leave it open and no image is read.
        activation: the same.
        trust: whether an encoder may come from outside sightline.

    Raises:
        ValueError: a space that no network reads, or settings that do not fit it.
    """
    images = [part for _, part in parts_of(space) if is_image(part)]
    if settings.encoder and not images:
        raise ValueError(f"the encoder {settings.encoder} reads images and {space} has none: leave it out")
    if settings.centred and not any(part.dtype == np.uint8 for part in images):
        raise ValueError(f"the bytes of images are centred and {space} has none: leave --centred out")
    if images and encoder is None:
        encoder = build_encoder(settings.encoder or "convolution", images[0], image_channels(images[0]), trust=trust)
    return Body(
        space,
        hidden=() if settings.hidden == (0,) else settings.hidden or ((128,) if images else hidden),
        activation=settings.activation or ("relu" if images else activation),
        encoder=encoder,
        pool=settings.pool,
        centred=settings.centred,
    )


def check_mask(space: spaces.Space[Any], fit: ActionFit) -> None:
    """Say in one sentence that a mask in the observation does not fit the actions.

    Raises:
        ValueError: it does not.
    """
    mask = space.spaces.get(MASK) if isinstance(space, spaces.Dict) else None
    if mask is None:
        return
    count = int(np.prod(mask.shape or ()))
    if count != fit.masks:
        raise ValueError(
            f"the observation's '{MASK}' has {count} entries and a policy on {type(fit.space).__name__} takes "
            f"{fit.masks}: give one entry per action, or name the part otherwise"
        )
    if mask.dtype is None or np.issubdtype(mask.dtype, np.floating):  # it would be normalised as a number
        raise ValueError(f"the observation's '{MASK}' is {mask}: give whole numbers, MultiBinary({count}) say")
