"""Which distribution fits an action space: how many numbers a head must give, and how they become actions.

| space                | distribution                          | numbers a row              |
|----------------------|---------------------------------------|----------------------------|
| Discrete             | Categorical                           | one an action              |
| MultiDiscrete        | MultiDiscrete                         | one an action of a choice  |
| MultiBinary          | Bernoulli                             | one a bit                  |
| Box of floats        | Gaussian, or squashed by tanh         | a mean (and scale) a number |

An action keeps the form in which its log-probability is taken; `to_space` gives what an environment's `step` takes: the
space's shape, type and start, a Gaussian's numbers clipped to the box.

Left out: Dict and Tuple of spaces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.rl.distributions.discrete import Bernoulli, categorical, multi_discrete
from sightline.rl.distributions.face import Distribution
from sightline.rl.distributions.gaussian import Gaussian, SquashedGaussian
from sightline.rl.noise import Draw, gaussian, gumbel, uniform

LOG_SCALE = (-20.0, 20.0)  # what squares to a finite float32 both ways; no policy comes near


@dataclass(frozen=True)
class ActionFit:
    """How a policy's numbers become a distribution over the actions of one space."""

    outputs: int  # numbers that a head gives per row
    free: int  # log-scales that belong to the policy and depend on no observation; start them at 0
    draw: Draw  # the noise of n rows, [n, noise], from one environment's random stream
    noise: int  # numbers of noise per row
    masks: int  # entries of an action mask; 0: the space knows none
    space: spaces.Space[Any]
    build: Callable[[Tensor, Tensor | None, Tensor | None], Distribution]
    squash: Callable[[Tensor], Tensor] | None = None  # from a squashed Gaussian's inner number to the box

    @property
    def plain(self) -> bool:
        """Whether actions as a rollout keeps them are those of the space, the clipping to a box apart."""
        space = self.space
        if isinstance(space, spaces.Box):
            return self.squash is None and len(space.shape) == 1 and space.dtype == np.float32
        return isinstance(space, spaces.Discrete) and int(space.start) == 0 and space.dtype == np.int64

    def from_raw(self, raw: Shaped[np.ndarray, "n ..."]) -> np.ndarray:
        """Actions as the environments' `step` takes them, from those that a rollout keeps."""
        action = torch.from_numpy(raw)
        return self.to_space(action if self.squash is None else self.squash(action))

    def distribution(
        self,
        outputs: Float[Tensor, "*b n"],
        free: Float[Tensor, "d"] | None = None,
        mask: Bool[Tensor, "*#b n"] | None = None,
    ) -> Distribution:
        """The distribution of these rows. Half precision becomes float32.

        Raises:
            ValueError: numbers, free scales or masks that the space does not need, or too few of them.
        """
        name = type(self.space).__name__
        for what, needed, given in (
            ("outputs", self.outputs, outputs.shape[-1]),
            ("free scales", self.free, 0 if free is None else free.shape[-1]),
            ("mask entries", self.masks if mask is not None else 0, 0 if mask is None else mask.shape[-1]),
        ):
            if needed != given:
                raise ValueError(f"a policy on this {name} space takes {needed} {what}, got {given}: see its ActionFit")
        if outputs.dtype in (torch.float16, torch.bfloat16):
            outputs = outputs.float()
        return self.build(outputs, free, mask)

    def to_space(self, action: Shaped[Tensor, "..."]) -> np.ndarray:
        """Actions as the environments' `step` takes them."""
        array = action.detach().cpu().numpy()
        space, rows = self.space, array.shape[: array.ndim - _own_axes(self.space)]
        shaped = array.reshape((*rows, *(space.shape or ())))
        if isinstance(space, spaces.Box):
            return np.asarray(np.clip(shaped, space.low, space.high), space.dtype)
        return np.asarray(shaped + getattr(space, "start", 0), space.dtype)

    def from_space(self, action: np.ndarray | np.generic) -> Shaped[Tensor, "..."]:
        """Actions of the space, from anywhere, in the form that `log_prob` takes."""
        array = np.asarray(np.asarray(action) - getattr(self.space, "start", 0))
        rows = array.shape[: array.ndim - len(self.space.shape or ())]
        flat = array.reshape((*rows, *([-1] * _own_axes(self.space))))
        return torch.from_numpy(np.asarray(flat, np.float32 if isinstance(self.space, spaces.Box) else np.int64))


def fit_distribution(space: spaces.Space[Any], *, scale: str = "free", squash: bool = False) -> ActionFit:
    """How many numbers a head must give for the actions of a space, and how they become a distribution.

    Args:
        space: One environment's action space.
        scale: Of a Gaussian: "free", parameters of the policy alone, or "state", given by the head after the means.
        squash: Squash a Gaussian by tanh into its box, rather than clip its actions there.

    Raises:
        ValueError: no policy fits the space; the sentence says which spaces are served.
    """
    choose("scale", scale, ("free", "state"))
    if isinstance(space, spaces.Discrete):
        n = int(space.n)
        return ActionFit(n, 0, gumbel(n), n, n, space, lambda outputs, free, mask: categorical(outputs, mask))
    if isinstance(space, spaces.MultiDiscrete):
        sizes = [int(n) for n in space.nvec.flatten()]
        total, padded = sum(sizes), len(sizes) * max(sizes)
        return ActionFit(
            total,
            0,
            gumbel(padded),
            padded,
            total,
            space,
            lambda outputs, free, mask: multi_discrete(outputs, sizes, mask),
        )
    if isinstance(space, spaces.MultiBinary):
        n = int(np.prod(space.shape))
        return ActionFit(n, 0, uniform(n), n, 0, space, lambda outputs, free, mask: Bernoulli(outputs))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and np.prod(space.shape) > 0:
        return _fit_box(space, scale, squash)
    raise ValueError(
        f"no policy fits the action space {space}: Discrete, MultiDiscrete, MultiBinary and a non-empty Box of floats "
        "are served; wrap the environment so that its actions are one of them"
    )


def _fit_box(space: spaces.Box, scale: str, squash: bool) -> ActionFit:
    d = int(np.prod(space.shape))
    low, high = (torch.as_tensor(bound.flatten(), dtype=torch.float32) for bound in (space.low, space.high))
    if squash and not (low.isfinite().all() and high.isfinite().all() and (low < high).all()):
        raise ValueError(
            f"a squashed Gaussian needs a finite box of positive width, got {space}: use squash=False, or bound the box"
        )

    def build(outputs: Tensor, free: Tensor | None, mask: Tensor | None) -> Distribution:
        mean, log_scale = (outputs, free) if free is not None else outputs.chunk(2, -1)
        normal = Gaussian(mean, log_scale.clamp(*LOG_SCALE))
        return SquashedGaussian(normal, low.to(mean), high.to(mean)) if squash else normal

    free = d if scale == "free" else 0
    into_box = SquashedGaussian(Gaussian(low, low), low, high).squash if squash else None
    return ActionFit(2 * d - free, free, gaussian(d), d, 0, space, build, into_box)


def _own_axes(space: spaces.Space[Any]) -> int:
    """The axes of one action in the form that `log_prob` takes."""
    return 0 if isinstance(space, spaces.Discrete) else 1
