"""The planner solves every level, by steps that a search of the states finds as well."""

import numpy as np
import pytest

from sightline.envs.box_world import BoxWorld
from sightline.envs.environment import take
from sightline.studies.gaze.planner import FAR, distances, good_steps

SMALLEST = BoxWorld(size=4, goal_length=(1,), distractors=(0,))


@pytest.mark.parametrize("world", [SMALLEST, BoxWorld(size=6, goal_length=(1, 2), distractors=(0, 1))])
def test_it_solves_every_level(world: BoxWorld) -> None:
    rng = np.random.default_rng(0)
    state, _ = world.reset(rng, 50)
    won = np.zeros(50, bool)
    for _ in range(60):
        good = good_steps(state)
        assert good[~won].any(1).all()
        state, _, reward, _ = world.step(state, good.argmax(1), rng)
        won |= reward == 10
    assert won.all()


def test_good_steps_are_those_of_the_shortest_ways() -> None:
    """Breadth-first search with the environment's own step, to the first thing picked up."""
    world = BoxWorld(size=4, goal_length=(1,), distractors=(0,))
    rng = np.random.default_rng(1)
    state, _ = world.reset(rng, 12)

    def steps_needed(one) -> int:
        seen, border, count = {tuple(one.agent[0])}, [one], 0
        while border:
            count += 1
            onward = []
            for here in border:
                for action in range(4):
                    there = world.step(here, np.array([action]), rng)[0]
                    if there.held[0]:
                        return count
                    if tuple(there.agent[0]) not in seen:
                        seen.add(tuple(there.agent[0]))
                        onward.append(there)
            border = onward
        return FAR

    good = good_steps(state)
    for i in range(12):
        one = take(state, np.array([i]))
        total = steps_needed(one)
        for action in range(4):
            there = world.step(one, np.array([action]), rng)[0]
            left = 0 if there.held[0] else steps_needed(there)
            assert good[i, action] == (left == total - 1)


def test_distances_go_around() -> None:
    free = np.ones((1, 3, 3), bool)
    free[0, 1, :2] = False
    goal = np.zeros((1, 3, 3), bool)
    goal[0, 0, 0] = True
    assert distances(goal, free)[0].tolist() == [[0, 1, 2], [FAR, FAR, 3], [6, 5, 4]]
