"""Random boards of games of stones in a row."""

import numpy as np
from jaxtyping import Int

from sightline.envs.in_a_row import Rules, legal, over, start, step


def random_states(rules: Rules, seed: int, b: int, stones: int) -> Int[np.ndarray, "b 2"]:
    """Boards after so many random moves that are not over."""
    rng, found = np.random.default_rng(seed), start(0)
    while len(found) < b:
        state = start(max(b, 2000))  # few random games are long
        for _ in range(stones):
            allowed = legal(rules, state)
            state = step(rules, state, np.where(allowed, rng.random(allowed.shape), -1.0).argmax(1))
            state = state[~over(rules, state)]
        found = np.concatenate((found, state))
    return found[:b]
