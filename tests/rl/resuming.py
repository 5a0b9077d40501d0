"""A learner that was saved and loaded goes on as one that never stopped: the same proof for every agent."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from sightline.envs.states import restore_environments, save_environments
from sightline.rl.learner import Learner
from sightline.rl.off_policy import OffPolicy
from sightline.run.states import decode, encode

L = TypeVar("L", Learner, OffPolicy)


def assert_goes_on(fresh: Callable[[], L], update: Callable[[L], Any]) -> None:
    """Update, save, update; then load into a fresh learner and update: the same rows and weights, bit for bit.

    Args:
        fresh: makes the learner, its environments of our own kind.
        update: some updates; returns what must come out the same.
    """
    one = fresh()
    update(one)
    tensors: dict[str, torch.Tensor] = {}
    parts = [one.state_dict(), {name: part.state_dict() for name, part in one.states.items()}]
    parts += [save_environments(one.envs), one.policy.state_dict()]
    saved = [encode(dict(part), tensors, str(i)) for i, part in enumerate(parts)]
    expected = update(one)
    two = fresh()
    for p in two.policy.parameters():
        torch.nn.init.zeros_(p)
    state, states, envs, weights = (decode(part, tensors) for part in saved)
    two.load_state_dict(state)
    for name, part in two.states.items():
        part.load_state_dict(states[name])
    two.policy.load_state_dict(weights)
    restore_environments(two.envs, envs)
    assert update(two) == expected
    for p, other in zip(one.policy.parameters(), two.policy.parameters(), strict=True):
        assert torch.equal(p, other)
