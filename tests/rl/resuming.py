"""A learner that was saved and loaded goes on as one that never stopped: the same proof for every agent."""

from collections.abc import Callable
from typing import Any

import torch

from sightline.rl.learner import Learner
from sightline.run.states import decode, encode


def assert_goes_on(fresh: Callable[[], Learner], update: Callable[[Learner], Any]) -> None:
    """Update, save, update; then load into a fresh learner and update: the same rows and weights, bit for bit.

    Args:
        fresh: makes the learner, its environments of our own kind.
        update: some updates; returns what must come out the same.
    """
    one = fresh()
    update(one)
    tensors: dict[str, torch.Tensor] = {}
    parts = [one.state_dict(), one.optimizer.state_dict(), one.envs.get_state(), one.policy.state_dict()]
    saved = [encode(dict(part), tensors, str(i)) for i, part in enumerate(parts)]
    expected = update(one)
    two = fresh()
    torch.nn.init.zeros_(two.flat.parameter)
    state, optimizer, envs, weights = (decode(part, tensors) for part in saved)
    two.load_state_dict(state)
    two.optimizer.load_state_dict(optimizer)
    two.policy.load_state_dict(weights)
    two.envs.set_state(envs)
    assert update(two) == expected
    assert torch.equal(one.flat.parameter, two.flat.parameter)
