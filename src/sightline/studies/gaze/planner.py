"""What an agent that sees through BoxWorld does: the steps that lead nearer to the next thing it needs.

With empty hands that is what can be picked up (the loose key, the content of the opened box), with a key in hand the
lock of its colour on the way to the gem. Distances are along the floor, around everything else, so that following these
steps solves every level; all steps that are equally good are given.

Left out: the shortest way over several things, where the order is fixed anyway, and levels that were lost.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from sightline.envs.box_world import MOVES, BoxWorldState

FAR = 10_000


def good_steps(state: BoxWorldState) -> Bool[np.ndarray, "b 4"]:
    """For every level the actions (up, down, left, right) that lead nearer; none where nothing can be reached."""
    goal = goals(state)
    distance = distances(goal, (state.cells == 0) | goal)
    b, last = len(distance), distance.shape[1] - 1
    each = np.arange(b)
    here = distance[each, state.agent[:, 0], state.agent[:, 1]]
    found = np.zeros((b, len(MOVES)), bool)
    for action, move in enumerate(MOVES):
        wanted = state.agent + move
        inside = ((wanted >= 0) & (wanted <= last)).all(1)
        y, x = np.clip(wanted, 0, last).T
        found[:, action] = inside & (distance[each, y, x] < here) & (here < FAR)
    return found


def goals(state: BoxWorldState) -> Bool[np.ndarray, "b n n"]:
    """Where the next thing lies that is needed."""
    held = state.held[:, None, None]
    shut = np.zeros_like(state.locks, bool)
    shut[:, :, :-1] = state.locks[:, :, 1:] != 0
    loose = (state.cells != 0) & (state.locks == 0) & ~shut
    opens = (state.locks == 1) & (state.cells == held)
    return np.where(held == 0, loose, opens)


def distances(goal: Bool[np.ndarray, "b n n"], free: Bool[np.ndarray, "b n n"]) -> Int[np.ndarray, "b n n"]:
    """Steps to the nearest goal over free cells; `FAR` where there is no way."""
    found = np.where(goal, 0, FAR)
    while True:
        near = np.full_like(found, FAR)
        near[:, 1:] = np.minimum(near[:, 1:], found[:, :-1])
        near[:, :-1] = np.minimum(near[:, :-1], found[:, 1:])
        near[:, :, 1:] = np.minimum(near[:, :, 1:], found[:, :, :-1])
        near[:, :, :-1] = np.minimum(near[:, :, :-1], found[:, :, 1:])
        better = np.where(free, np.minimum(found, near + 1), FAR)
        if np.array_equal(better, found):
            return found
        found = better


def shares(good: Bool[np.ndarray, "b 4"]) -> Float[np.ndarray, "b 4"]:
    """A probability for each good step, the same for all of a level."""
    return good / np.maximum(good.sum(1, keepdims=True), 1)
