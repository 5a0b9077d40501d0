"""How much better than expected the actions of a rollout were, for the agents that look a few steps ahead.

Generalised advantages (`returns.py`), normalised over the whole rollout of all processes, where most code does it in
every minibatch: a rollout then has the same advantages in every epoch, however it is cut.

Left out: Monte-Carlo returns, which are REINFORCE's own.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sightline.rl.learner import Experience
from sightline.rl.returns import gae
from sightline.run.processes import add_up


def advantages_and_targets(
    seen: Experience, *, gamma: float, gae_lambda: float, normalise: bool
) -> tuple[Float[Tensor, "t b"], Float[Tensor, "t b"]]:
    """Generalised advantages, normalised if asked, and the lambda-returns that the values should have been.

    Raises:
        ValueError: gamma or lambda lies outside of [0, 1].
    """
    advantages = gae(
        seen.reward,
        seen.values,
        seen.next_values,
        seen.terminated,
        seen.truncated,
        gamma=gamma,
        lambda_=gae_lambda,
        valid=seen.valid,
    )
    targets = advantages + seen.values
    return (normalised_everywhere(advantages, seen.valid) if normalise else advantages), targets


def normalised_everywhere(advantages: Float[Tensor, "t b"], valid: Bool[Tensor, "t b"] | None) -> Float[Tensor, "t b"]:
    """Mean 0 and deviation 1 over the rows that count, of all processes; 0 in the others."""
    weight = torch.ones_like(advantages) if valid is None else valid.to(advantages.dtype)
    rows = (advantages * weight).double()
    count, total = add_up(torch.stack([weight.double().sum(), rows.sum()]))
    mean = total / count
    centred = (advantages.double() - mean) * weight
    deviation = (add_up(centred.square().sum()) / count).sqrt()
    return (centred / (deviation + 1e-8)).to(advantages.dtype)
