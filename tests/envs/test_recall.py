"""Recall: what is seen when, and the two returns that it has by definition."""

import numpy as np
import pytest

from sightline.envs.recall import Recall

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("cues", "delay"), [(2, 0), (3, 1), (4, 8)])
def test_the_cue_is_seen_once_and_asked_for_at_the_end(cues: int, delay: int) -> None:
    recall = Recall(cues, delay)
    state, seen = recall.reset(RNG, 64)
    cue = state.cue
    assert set(cue) == set(range(cues))
    shown = np.eye(cues + 1, dtype=np.float32)
    np.testing.assert_array_equal(seen, shown[cue])
    for step in range(delay + 2):
        action = RNG.integers(cues, size=64)
        state, seen, reward, terminated = recall.step(state, action, RNG)
        last = step == delay + 1
        assert (terminated == last).all()
        np.testing.assert_array_equal(reward, (action == cue) * float(last))
        np.testing.assert_array_equal(seen, np.tile(shown[cues] * (step == delay), (64, 1)))
        assert seen.dtype == np.float32


def test_its_picture_shows_cue_question_and_end() -> None:
    recall = Recall(2, 0)
    state, _ = recall.reset(RNG, 1)
    pictures = [recall.picture(state)]
    for _ in range(2):
        state, *_ = recall.step(state, np.zeros(1, np.int64), RNG)
        pictures.append(recall.picture(state))
    assert [one.shape for one in pictures] == [(1, 32, 96, 3)] * 3
    coloured = [[len(set(one[0, 5, x].tolist())) > 1 for x in (5, 37, 69)] for one in pictures]
    assert coloured[0] == [state.cue[0] == 0, state.cue[0] == 1, False]
    assert coloured[1:] == [[False, False, True], [False] * 3]


@pytest.mark.parametrize(("cues", "delay"), [(1, 3), (2, -1)])
def test_options_that_cannot_be(cues: int, delay: int) -> None:
    with pytest.raises(ValueError, match=f"2 cues or more apart .*, got cues {cues}, delay {delay}"):
        Recall(cues, delay)
