"""What is drawn from a replay, against plain lists of single environments' transitions, in every autoreset mode."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from tests.rl.counting import KINDS, MODES, Transition, act, counting, leaves, oracle

from sightline.rl import replay as replay_module
from sightline.rl.noise import gaussian
from sightline.rl.replay import Batch, Replay
from sightline.rl.rollout import Collector
from sightline.rl.trees import map_arrays
from sightline.run.states import decode, encode

SEED, GAMMA = 5, 0.9


class Filled:
    """A replay that some rollouts went into, and how many transitions of each environment there were."""

    def __init__(
        self, mode: str, capacity: int, rollouts: int, steps: int = 7, kind: str = "vector", **options: Any
    ) -> None:
        self.mode, self.kind, self.environments = mode, kind, 3
        envs = counting(mode, self.environments, kind)
        self.collector = Collector(envs, steps, gaussian(2), seed=SEED)
        self.replay = Replay(
            envs.single_observation_space, np.zeros(2, np.float32), 3, capacity, mode=self.collector.mode, seed=1,
            **options,
        )  # fmt: skip
        self.transitions = np.zeros(3, int)
        self.collect(rollouts)

    def collect(self, rollouts: int) -> None:
        for _ in range(rollouts):
            rollout = self.collector.collect(act)
            self.replay.add(rollout)
            self.transitions += rollout.valid.sum(0)

    def kept(self) -> list[list[Transition]]:
        """The latest transitions of every environment, as many as its ring has room for."""
        out = []
        pending = self.collector.state_dict()["pending"]  # under NEXT_STEP, an end whose reset is still to come
        for b in range(self.environments):
            everything = oracle(SEED, b, int(self.transitions[b]), self.kind)
            rows: list[int | None] = []  # None: an episode's last observation
            for i, one in enumerate(everything):
                rows.append(i)
                if (one[3] or one[4]) and not (i == len(everything) - 1 and pending[b]):
                    rows.append(None)
            room = [i for i in rows[-(self.replay.rows - 1) :] if i is not None]  # the last row is the latest sight
            out.append([everything[i] for i in room])
        return out


def key(observation: Any) -> bytes:
    return b"".join(leaf.tobytes() for leaf in leaves(observation))


def n_step(ahead: list[Transition], n: int) -> tuple[float, float, Any]:
    """Return, discount and what was seen then, of the first transition; the list ends where knowledge does."""
    total, discount = 0.0, 1.0
    for one in ahead[:n]:
        total, discount, after = total + discount * one[2], discount * GAMMA, one[5]
        if one[3] or one[4]:
            return total, 0.0 if one[3] else discount, after
    return total, discount, after


def assert_drawn(batch: Batch, kept: list[list[Transition]], n: int) -> Counter[bytes]:
    """Every row is what the lists say; how often each was drawn."""
    where = {key(one[0]): (b, i) for b, ones in enumerate(kept) for i, one in enumerate(ones)}
    drawn: Counter[bytes] = Counter()
    for row in range(len(batch.index)):
        observation = map_arrays(lambda one, row=row: one[row], batch.observation)
        b, i = where[key(observation)]
        drawn[key(observation)] += 1
        total, discount, after = n_step(kept[b][i:], n)
        np.testing.assert_array_equal(batch.action[row], kept[b][i][1])
        np.testing.assert_allclose(batch.reward[row], total, rtol=1e-6)
        np.testing.assert_allclose(batch.discount[row], discount, rtol=1e-6)
        for x, y in zip(leaves(map_arrays(lambda one, row=row: one[row], batch.next_observation)), leaves(after),
                        strict=True):  # fmt: skip
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
    assert set(drawn) == set(where), "everything that is kept is drawn, and nothing else"
    return drawn


@pytest.mark.parametrize("alpha", [None, 0.6], ids=["uniform", "prioritised"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("capacity", "rollouts"), [(3 * 70, 6), (3 * 30, 12), (3 * 17, 23)])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_drawn_is_what_was(mode: str, capacity: int, rollouts: int, n: int, alpha: float | None) -> None:
    filled = Filled(mode, capacity, rollouts, alpha=alpha)
    kept = filled.kept()
    assert len(filled.replay) == sum(map(len, kept))
    assert any(one[4] and not one[3] for ones in kept for one in ones)
    assert any(one[3] for ones in kept for one in ones)
    drawn = assert_drawn(filled.replay.sample(1600, gamma=GAMMA, steps=n), kept, n)
    expected = 1600 / len(drawn)
    assert max(abs(count - expected) for count in drawn.values()) < 5 * expected**0.5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("dict", "tuple")])
@pytest.mark.parametrize("mode", MODES)
def test_trees_of_arrays_in_their_own_types(mode: str, kind: str) -> None:
    filled = Filled(mode, 3 * 17, 13, kind=kind)
    batch = filled.replay.sample(800, gamma=GAMMA, steps=2)
    assert_drawn(batch, filled.kept(), 2)
    image = batch.observation["image"] if kind == "dict" else batch.observation[0]
    assert image.dtype == np.uint8


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("mode", MODES)
def test_where_rollouts_are_cut_changes_nothing(mode: str, steps: int) -> None:
    filled = Filled(mode, 3 * 17, 60 // steps, steps)
    assert_drawn(filled.replay.sample(800, gamma=GAMMA, steps=3), filled.kept(), 3)


@pytest.mark.parametrize("mode", MODES)
def test_environments_that_begin_anew_cut_their_episodes(mode: str) -> None:
    filled = Filled(mode, 3 * 40, 3)
    before = filled.kept()
    filled.replay.cut()
    filled.collector.reset(seed=70)
    rollout = filled.collector.collect(act)
    filled.replay.add(rollout)
    batch = filled.replay.sample(3000, gamma=GAMMA, steps=50)
    where = {key(one[0]): (b, i) for b, ones in enumerate(before) for i, one in enumerate(ones)}
    found = 0
    for row, seen in enumerate(batch.observation):
        if key(seen) in where:
            b, i = where[key(seen)]
            total, discount, after = n_step(before[b][i:], 50)
            np.testing.assert_allclose((batch.reward[row], batch.discount[row]), (total, discount), rtol=1e-6)
            np.testing.assert_array_equal(batch.next_observation[row], after)
            found += 1
        else:
            assert seen[0] >= 70
            assert batch.next_observation[row][0] >= 70
    assert 500 < found < 2500


@pytest.mark.parametrize("alpha", [None, 0.6], ids=["uniform", "prioritised"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rollouts", [2, 20])
def test_a_saved_replay_goes_on_exactly(mode: str, rollouts: int, alpha: float | None) -> None:
    one = Filled(mode, 3 * 30, rollouts, alpha=alpha)
    if one.replay.priorities is not None:
        one.replay.priorities.update(one.replay.sample(20, gamma=GAMMA).index, np.arange(20.0))
    table: dict[str, torch.Tensor] = {}
    saved = json.loads(json.dumps(encode(one.replay.state_dict(), table, "replay")))
    assert sum(len(tensor) for tensor in table.values()) <= 6 * 3 * min(30, 2 * rollouts * 7 + 1)  # what was written
    two = Filled(mode, 3 * 30, 0, alpha=alpha)
    two.replay.load_state_dict(decode(saved, table))
    assert len(two.replay) == len(one.replay)
    for _ in range(3):
        rollout = one.collector.collect(act)
        one.replay.add(rollout)
        two.replay.add(rollout)
        a, b = (r.replay.sample(50, gamma=GAMMA, steps=2, beta=0.5) for r in (one, two))
        for name, value in vars(a).items():
            np.testing.assert_array_equal(value, getattr(b, name))


def test_another_replays_state_is_refused() -> None:
    state = Filled("NextStep", 90, 2).replay.state_dict()
    with pytest.raises(ValueError, match=r"the saved replay has 30 rows of 3 environments, .* this one 20 of 3, .*"):
        Filled("NextStep", 60, 0).replay.load_state_dict(state)
    with pytest.raises(ValueError, match=r"or one has priorities: give the settings that it was saved with"):
        Filled("NextStep", 90, 0, alpha=0.5).replay.load_state_dict(state)


def test_sizes_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    box = spaces.Box(0, 255, (84, 84, 4), np.uint8)
    with pytest.raises(ValueError, match=r"got a capacity of 5 for 2 environments: use --capacity 6 or more"):
        Replay(box, np.zeros((), np.int64), 2, 5, mode=AutoresetMode.NEXT_STEP, seed=0)
    monkeypatch.setattr(replay_module, "free_memory", lambda: 2_000_000_000)
    with pytest.raises(
        ValueError,
        match=r"a replay of 1000000 rows of 28238 bytes takes 28.2 GB and 2.0 GB .* --capacity 35413 or less",
    ):
        Replay(box, np.zeros((), np.int64), 1, 1_000_000, mode=AutoresetMode.NEXT_STEP, seed=0)
    Replay(box, np.zeros((), np.int64), 1, 35413, mode=AutoresetMode.NEXT_STEP, seed=0)
    with pytest.raises(ValueError, match=r"replay of 5 rows for each environment does not hold a rollout of 7 steps"):
        Filled("NextStep", 15, 1)
    with pytest.raises(ValueError, match=r"the replay holds no transition to draw: add a rollout first"):
        Filled("NextStep", 90, 0).replay.sample(3, gamma=1.0)
    monkeypatch.undo()
    free = replay_module.free_memory()
    assert free is None or 10_000_000 < free < 10**14
