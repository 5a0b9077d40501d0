"""Small worlds: one worked out by hand, and random ones."""

import numpy as np

from sightline.planning.tabular import World


def two_states(gamma: float = 0.5) -> tuple[World, np.ndarray]:
    """Stay or go between two states; staying in the second is worth 1, and going from there ends the episode with 3.

    By hand at gamma 0.5: in the second state staying for ever is worth 2 and ending 3, so end; staying once and then
    ending 1 + 1.5 = 2.5. From the first, going gives 0 + 1.5, and staying half of that.
    """
    assert gamma == 0.5
    return World(
        probability=np.ones((2, 2, 1)),
        next_state=np.array([[[0], [1]], [[1], [0]]]),
        reward=np.array([[[0.0], [0.0]], [[1.0], [3.0]]]),
        over=np.array([[[False], [False]], [[False], [True]]]),
        start=np.array([1.0, 0.0]),
    ), np.array([[0.75, 1.5], [2.5, 3.0]])


def random_world(seed: int, states: int = 6, actions: int = 3, outcomes: int = 2, ends: float = 0.1) -> World:
    rng = np.random.default_rng(seed)
    shape = (states, actions, outcomes)
    return World(
        probability=rng.dirichlet(np.ones(outcomes), shape[:2]) if outcomes > 1 else np.ones(shape),
        next_state=rng.integers(states, size=shape),
        reward=rng.normal(size=shape),
        over=rng.random(shape) < ends,
        start=rng.dirichlet(np.ones(states)),
    )
