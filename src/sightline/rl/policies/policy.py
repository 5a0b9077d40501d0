"""A policy: what to do (actor) and what is to be expected (critic), from one body or from two.

    policy = make_policy(env.observation_space, env.action_space)
    distribution = policy.distribution(observation)             # of rows [n, ...]
    raw = policy.draw(distribution, noise)                      # what a rollout keeps
    env.step(policy.to_space(raw))

What a rollout keeps is `raw`: of a squashed Gaussian the number before the squashing, whose log-probability is exact
where the action itself has rounded to the border; of all others the action. The actor's last layer starts small
(gain 0.01), so that a new policy prefers nothing, and the log-scales of a Gaussian start at 0 (Andrychowicz et al.,
2021, https://arxiv.org/abs/2006.05990, section 3.2).

Left out: a memory, and several agents in one environment.
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
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.trees import Arrays

DEFAULT = PolicySettings()


class Policy(nn.Module):
    """Actor and critic over one observation space and one action space.

    Args:
        body: makes the actor's features.
        fit: from `fit_distribution`, of the action space.
        critic_body: makes the critic's; None: the actor's.
    """

    def __init__(self, body: Body, fit: ActionFit, critic_body: Body | None = None) -> None:
        super().__init__()
        self.fit = fit
        self.actor_body, self.critic_body = body, critic_body
        self.actor = orthogonal(nn.Linear(body.width, fit.outputs), 0.01)
        self.critic = orthogonal(nn.Linear((critic_body or body).width, 1), 1.0)
        self.log_scale = nn.Parameter(torch.zeros(fit.free)) if fit.free else None

    @property
    def shared(self) -> bool:
        """Whether actor and critic read the same features."""
        return self.critic_body is None

    @property
    def plain(self) -> bool:
        """Whether actions as a rollout keeps them are those of the space, the clipping to a box apart."""
        space = self.fit.space
        if isinstance(space, spaces.Box):
            return self.fit.squash is None and len(space.shape) == 1 and space.dtype == np.float32
        return isinstance(space, spaces.Discrete) and int(space.start) == 0 and space.dtype == np.int64

    def distribution(self, observation: Arrays) -> Distribution:
        """What to do, `[n, ...]`."""
        return self._distribution(self.actor_body(observation), observation)

    def value(self, observation: Arrays) -> Float[Tensor, " n"]:
        """What return to expect."""
        body = self.actor_body if self.critic_body is None else self.critic_body
        return self.critic(body(observation)).squeeze(-1)

    def forward(self, observation: Arrays) -> tuple[Distribution, Float[Tensor, " n"]]:
        """Both, from one pass where the body is shared."""
        features = self.actor_body(observation)
        other = features if self.critic_body is None else self.critic_body(observation)
        return self._distribution(features, observation), self.critic(other).squeeze(-1)

    def draw(self, distribution: Distribution, noise: Float[Tensor, "n k"]) -> Shaped[Tensor, "n ..."]:
        """An action as a rollout keeps it, from noise of the kind that `fit.draw` makes."""
        return distribution.inner.sample(noise) if isinstance(distribution, SquashedGaussian) else (
            distribution.sample(noise)
        )  # fmt: skip

    def act(self, observation: Arrays, noise: Float[Tensor, "n k"]) -> Shaped[Tensor, "n ..."]:
        """`draw` from the `distribution`; a single choice needs no normalised probabilities for it."""
        if isinstance(self.fit.space, spaces.Discrete) and mask_of(observation) is None:
            return (self.actor(self.actor_body(observation)) + noise).argmax(-1)
        return self.draw(self.distribution(observation), noise)

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
        action = torch.from_numpy(raw)
        if self.fit.squash is not None:
            action = self.fit.squash(action)
        return self.fit.to_space(action)

    def _distribution(self, features: Float[Tensor, "n w"], observation: Arrays) -> Distribution:
        return self.fit.distribution(self.actor(features), self.log_scale, mask_of(observation))


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
    _check_mask(observation_space, fit)
    images = [part for _, part in parts_of(observation_space) if is_image(part)]
    if settings.encoder and not images:
        raise ValueError(f"the encoder {settings.encoder} reads images and {observation_space} has none: leave it out")
    if settings.centred and not any(part.dtype == np.uint8 for part in images):
        raise ValueError(f"the bytes of images are centred and {observation_space} has none: leave --centred out")
    if images and encoder is None:
        channels = image_channels(images[0])
        encoder = build_encoder(settings.encoder or "convolution", images[0], channels, trust=trust)
    shared = bool(images) if settings.shared is None else settings.shared
    hidden = () if settings.hidden == (0,) else settings.hidden or ((128,) if images else (64, 64))
    activation = settings.activation or ("relu" if images else "tanh")

    def body(one: nn.Module | None) -> Body:
        return Body(
            observation_space, hidden=hidden, activation=activation, encoder=one, pool=settings.pool,
            centred=settings.centred,
        )  # fmt: skip

    first = body(encoder)
    return Policy(first, fit, None if shared else body(copy.deepcopy(encoder)))


def _check_mask(space: spaces.Space[Any], fit: ActionFit) -> None:
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
