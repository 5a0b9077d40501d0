"""Box-World: a search in a second implementation solves every level, and both agree step by step."""

import numpy as np
import pytest
from tests.envs.box_world_oracle import Room, room_of, solve, walk

from sightline.envs.box_world import AGENT, DOWN, LEFT, PALETTE, RIGHT, UP, WALL, BoxWorld, BoxWorldState
from sightline.envs.box_world_levels import COLOURS, GEM, Level, choose_boxes, make_level

RNG = np.random.default_rng(0)
SMALL = BoxWorld(size=6, goal_length=(1, 2), distractors=(0, 1))
MIDDLE = BoxWorld(size=8, goal_length=(3,), distractors=(2,))
LONG = BoxWorld(size=14, goal_length=(2, 5), distractors=(3,), branch_length=2)


def level_of(world: BoxWorld, seed: int) -> Level:
    rng = np.random.default_rng(seed)
    return make_level(world.size, world.goal_length, world.distractors, world.branch_length, rng)


def state_of(*levels: Level) -> BoxWorldState:
    return BoxWorldState(
        cells=np.stack([level.cells for level in levels]),
        locks=np.stack([level.locks for level in levels]),
        agent=np.stack([level.agent for level in levels]),
        held=np.zeros(len(levels), dtype=np.uint8),
    )


def drawn(*rows: str) -> Level:
    """`a` to `t`: keys; the same letter large: its lock, of a distractor if `!` follows; `*` gem; `@` agent."""
    size = len(rows)
    cells, locks, agent = np.zeros((size, size), np.uint8), np.zeros((size, size), np.int8), np.zeros(2, np.int64)
    for y, row in enumerate(rows):
        x = -1
        for letter in row:
            if letter == "!":
                locks[y, x] = -1
                continue
            x += 1
            if letter == "@":
                agent[:] = y, x
            elif letter == "*":
                cells[y, x] = GEM
            elif letter.isalpha():
                cells[y, x] = ord(letter.lower()) - ord("a") + 1
                locks[y, x] = letter.isupper()
    return Level(cells, locks, agent)


HAND = drawn(
    "a@....",
    "......",
    "..bA..",
    "......",
    "*B..cA!",
    "......",
)


def play(world: BoxWorld, level: Level, actions: list[int]) -> tuple[BoxWorldState, list[float], list[bool]]:
    state, rewards, overs = state_of(level), [], []
    for action in actions:
        state, observation, reward, terminated = world.step(state, np.array([action]), RNG)
        assert np.array_equal(observation, world.observe(state))
        rewards.append(float(reward[0]))
        overs.append(bool(terminated[0]))
    return state, rewards, overs


def test_the_way_to_the_gem_played_by_hand() -> None:
    world = BoxWorld(size=6)
    to_the_box = [LEFT, DOWN, DOWN, RIGHT, RIGHT]  # the key; the box's content is shut
    state, rewards, _ = play(world, HAND, to_the_box)
    assert (state.agent.tolist(), state.held.tolist(), sum(rewards)) == ([[2, 1]], [1], 0)
    round_it = [UP, RIGHT, RIGHT, DOWN]
    state, rewards, _ = play(world, HAND, to_the_box + round_it)
    assert (state.agent.tolist(), state.held.tolist(), rewards[-1]) == ([[2, 3]], [0], 1.0)
    content = [LEFT, DOWN, DOWN, LEFT]
    state, rewards, overs = play(world, HAND, to_the_box + round_it + content)
    assert (state.agent.tolist(), state.held.tolist(), rewards[-1]) == ([[4, 1]], [0], 1.0)
    state, rewards, overs = play(world, HAND, to_the_box + round_it + content + [LEFT])
    assert (rewards[-1], sum(rewards)) == (10.0, 12.0)
    assert overs == [False] * 13 + [True]
    solved = solve(HAND)
    assert solved is not None
    assert (len(solved[0]), solved[1]) == (11, 12.0)  # without the detour to the shut box


def test_a_wrong_box_ends_the_episode() -> None:
    state, rewards, overs = play(BoxWorld(size=6), HAND, [LEFT, *[RIGHT] * 5, *[DOWN] * 4])
    assert (rewards, overs) == ([0.0] * 9 + [-1.0], [False] * 9 + [True])
    assert state.agent.tolist() == [[4, 5]]


def test_without_the_key_a_lock_is_a_wall_and_so_is_the_wall() -> None:
    state, rewards, _ = play(BoxWorld(size=6), HAND, [UP, RIGHT, RIGHT, DOWN, DOWN])
    assert (state.agent.tolist(), rewards) == ([[1, 3]], [0.0] * 5)


@pytest.mark.parametrize(
    ("world", "count"),
    [(SMALL, 150), (MIDDLE, 60), (LONG, 15), (BoxWorld(), 25)],
    ids=["small", "middle", "long", "paper"],
)
def test_every_level_can_be_solved_and_the_environment_pays_what_the_search_says(world: BoxWorld, count: int) -> None:
    for seed in range(count):
        level = level_of(world, seed)
        solved = solve(level)
        assert solved is not None, f"no way to the gem in level {seed}"
        actions, total = solved
        _, rewards, overs = play(world, level, actions)
        assert sum(rewards) == total == 10 + (level.locks > 0).sum()
        assert overs == [False] * (len(actions) - 1) + [True]


def as_room(state: BoxWorldState, i: int) -> Room:
    level = Level(state.cells[i], state.locks[i], state.agent[i])
    return room_of(level)._replace(held=int(state.held[i]))


@pytest.mark.parametrize("world", [SMALL, LONG], ids=["small", "long"])
def test_batched_steps_agree_with_the_plain_rules_in_random_play(world: BoxWorld) -> None:
    b, rng = 16, np.random.default_rng(5)
    state, _ = world.reset(rng, b)
    rooms, ended, opened = [as_room(state, i) for i in range(b)], np.zeros(b, dtype=bool), 0
    # Half the walkers follow the search, with slips, so that locks and the gem are met.
    plans = [solve(Level(state.cells[i], state.locks[i], state.agent[i])) for i in range(b)]
    for step in range(40):
        action = rng.integers(4, size=b)
        for i in range(0, b, 2):
            plan = plans[i]
            assert plan is not None
            action[i] = plan[0][step] if step < len(plan[0]) else action[i]
        state, _, reward, terminated = world.step(state, action, rng)
        for i in np.flatnonzero(~ended):
            rooms[i], expected, over = walk(rooms[i], int(action[i]), world.size)
            assert (as_room(state, i), float(reward[i]), bool(terminated[i])) == (rooms[i], expected, over)
            opened += expected != 0
        ended |= terminated
    assert opened > b


def test_every_step_of_a_random_walk_with_the_key_in_hand_agrees() -> None:
    """All places x all keys x all actions of one level, against the plain rules."""
    level, size = level_of(MIDDLE, 0), MIDDLE.size
    floor = np.argwhere(level.cells == 0)
    for held in range(COLOURS + 1):
        for action in range(4):
            n = len(floor)
            state = BoxWorldState(
                np.tile(level.cells, (n, 1, 1)), np.tile(level.locks, (n, 1, 1)), floor, np.full(n, held, np.uint8)
            )
            after, _, reward, over = MIDDLE.step(state, np.full(n, action), RNG)
            for i in range(n):
                expected = walk(as_room(state, i), action, size)
                assert (as_room(after, i), float(reward[i]), bool(over[i])) == expected


def test_things_do_not_touch_and_the_boxes_form_one_way_with_branches() -> None:
    for seed in range(40):
        level = level_of(LONG, seed)
        things = [(y, x) for y, x in np.argwhere(level.cells).tolist()]
        for y, x in things:
            for v, u in things:
                close = max(abs(y - v), abs(x - u)) == 1
                assert not close or (y == v and level.locks[y, max(x, u)] != 0)
        assert not level.cells[tuple(level.agent)]
        boxes = choose_boxes(LONG.goal_length, LONG.distractors, 2, np.random.default_rng(seed))
        way = [box for box in boxes if box.sign >= 0]
        assert [box.lock for box in way] == [0, *(box.content for box in way[:-1])]
        assert way[-1].content == GEM
        astray = [box for box in boxes if box.sign < 0]
        assert len(astray) == 6
        contents = [box.content for box in boxes]
        assert len(set(contents)) == len(contents), "each colour is held once"
        for first, second in zip(astray[::2], astray[1::2], strict=True):
            assert first.lock in {box.lock for box in way[1:]}
            assert second.lock == first.content


def test_the_choices_are_all_drawn() -> None:
    worlds = [level_of(SMALL, seed).locks for seed in range(60)]
    assert {int((locks > 0).sum()) for locks in worlds} == {1, 2}
    assert {int((locks < 0).sum()) for locks in worlds} == {0, 1}


@pytest.mark.parametrize("scale", [1, 2])
def test_the_picture_of_a_level_drawn_by_hand(scale: int) -> None:
    world = BoxWorld(size=6, scale=scale)
    state, _, _ = play(world, HAND, [LEFT])  # the key is picked up, the agent stands in its place
    a, b, c = 1, 2, 3
    cells = np.full((8, 8), WALL)
    cells[1:7, 1:7] = 0
    cells[0, 0], cells[1, 1] = a, AGENT
    cells[3, 3:5], cells[5, 1:3], cells[5, 5:7] = (b, a), (GEM, b), (c, a)
    expected = np.kron(PALETTE[cells], np.ones((scale, scale, 1), dtype=np.uint8))
    assert np.array_equal(world.observe(state)[0], expected)
    assert world.observe(state).shape[1:] == world.observation_shape
    assert len(np.unique(PALETTE, axis=0)) == len(PALETTE) == COLOURS + 4
    assert world.picture(state).shape == (1, 128, 128, 3)


def test_nothing_is_changed_in_place() -> None:
    state = state_of(HAND)
    kept = [array.copy() for array in vars(state).values()]
    SMALL.step(state, np.array([LEFT]), RNG)
    assert all(np.array_equal(a, b) for a, b in zip(kept, vars(state).values(), strict=True))


def test_what_finds_no_place_or_has_no_colours_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10 boxes and a key found no place on 5 x 5 cells .* larger size"):
        BoxWorld(size=5, goal_length=(10,), distractors=(0,)).reset(RNG, 1)
    with pytest.raises(ValueError, match="there are 20 colours of keys, these levels may need 24"):
        BoxWorld(goal_length=(4,), distractors=(5,), branch_length=4)
    with pytest.raises(
        ValueError, match=r"goal_length lists the numbers to choose from, each at least 1, got \(0, 1\)"
    ):
        BoxWorld(goal_length=(0, 1))
    with pytest.raises(ValueError, match=r"at least 4, .* got size 3, scale 1, branch_length 1"):
        BoxWorld(size=3)


def test_one_number_is_no_list_of_choices(as_users_run_it: None) -> None:
    with pytest.raises(ValueError, match="distractors lists the numbers to choose from, each at least 0, got 1"):
        BoxWorld(distractors=1)  # type: ignore[arg-type]
