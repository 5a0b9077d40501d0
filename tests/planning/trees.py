"""Random trees of any kind as tables, whose exact values `lookahead.table_values` knows."""

import numpy as np

from sightline.planning.outcomes import Outcomes


def random_tree(
    seed: int, *, players: int = 2, outcomes: int = 1, gamma: float = 1.0, depth: int = 3, actions: int = 3,
    illegal: float = 0.2, ends: float = 0.15,
) -> Outcomes:  # fmt: skip
    """State 0 is the root; every (state, action, outcome) has a child of its own, and all is over after `depth` moves.

    With two players the turn mostly changes but not always. The first action is always legal.
    """
    rng = np.random.default_rng(seed)
    branch = actions * outcomes
    inner = sum(branch**level for level in range(depth))
    states = inner + branch**depth
    shape = (states, actions, outcomes)
    child = (np.arange(states)[:, None] * branch + 1 + np.arange(branch)).reshape(shape)
    last = child >= inner
    sign = np.where(rng.random(shape) < 0.8, -1.0, 1.0) if players == 2 else np.ones(shape)
    legal = rng.random((states, actions)) >= illegal
    legal[:, 0] = True
    legal[inner:] = False
    return Outcomes(
        probability=rng.dirichlet(np.ones(outcomes), (states, actions)),
        next_state=np.minimum(child, states - 1),
        reward=rng.uniform(-1, 1, shape),
        discount=np.where(last | (rng.random(shape) < ends), 0.0, gamma * sign),
        legal=legal,
        value=rng.uniform(-1, 1, states),
    )
