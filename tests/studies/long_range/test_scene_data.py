"""What the page's canvas is given says the same as the scene, and finds each answer where the canvas put it."""

import base64

import numpy as np
import pytest
from tests.studies.long_range.made_up_study import STRIDE, canvases, scene_of

from sightline.studies.long_range import scene_data, strip


@pytest.mark.parametrize("task", ["recall", "key-class"])
@pytest.mark.parametrize("seed", range(6))
def test_answers_are_found_where_the_canvas_put_them(task, seed):
    drawn = canvases(task, digits=5, seed=seed, cells=(5, 4))
    found = strip.answer_cells(scene_of(drawn))
    expected: list[int | None] = [None] * 20
    for question, answer in zip(drawn.question_cell[0].tolist(), drawn.answer_cell[0].tolist(), strict=True):
        expected[question] = answer
    assert found == expected
    assert strip.digits_of(scene_of(drawn)) == (5 if task == "recall" else 1)


def test_an_answer_in_faint_ink_is_found_by_its_hue():
    drawn = canvases(digits=8, seed=4, cells=(5, 5))
    scene = scene_of(drawn)
    expected = strip.answer_cells(scene)
    for cell in drawn.digit_cell[0].tolist():
        y, x = cell // 5 * 8, cell % 5 * 8
        scene.image[y : y + 8, x : x + 8] //= 3
    assert strip.answer_cells(scene) == expected


def test_a_canvas_with_nothing_on_it_asks_nothing():
    scene = scene_of(canvases())
    scene.image[:] = 0
    scene.truth[:] = strip.UNLABELLED
    assert strip.answer_cells(scene) == [None] * 20
    assert scene_data.scene_data(scene)["start"] == 40  # the middle of 80 positions


def test_packed_looks_and_reach_come_back():
    scene = scene_of(canvases())
    data = scene_data.scene_data(scene)
    queries = 8 * 10
    assert data["looks"][0] == ""
    for n in range(1, 4):
        got = np.frombuffer(base64.b64decode(data["looks"][n]), np.uint8).reshape(queries, 8, 10) / 255
        true = scene.looks[n].astype(float)
        np.testing.assert_allclose(got, true / true.max(axis=(1, 2), keepdims=True), atol=0.5 / 255 + 1e-3)
    for n in range(4):
        bits = np.unpackbits(np.frombuffer(base64.b64decode(data["reach"][n]), np.uint8))[: queries * 20]
        np.testing.assert_array_equal(bits.astype(bool), scene.reach[n].reshape(-1))


def test_what_is_said_at_a_position_is_said_by_its_labelled_pixels():
    scene = scene_of(canvases(seed=3), seed=3)
    said = scene_data.said_at_positions(scene.prediction[1], scene.truth, (8, 10))
    truth = scene_data.scene_data(scene)["truth"]
    for y in range(8):
        for x in range(10):
            pixels = [(i, j) for i in range(y * STRIDE, (y + 1) * STRIDE) for j in range(x * STRIDE, (x + 1) * STRIDE)]
            labelled = [pixel for pixel in pixels if scene.truth[pixel] != -100]
            votes = [int(scene.prediction[1][pixel]) for pixel in (labelled or pixels)]
            assert said[y * 10 + x] == min(set(votes), key=lambda v: (-votes.count(v), v))
            labels = {int(scene.truth[pixel]) for pixel in labelled}
            assert truth[y * 10 + x] == (labels.pop() if labels else -1)


def test_shares_on_answers_are_sums_of_weights():
    drawn = canvases(seed=1)
    scene = scene_of(drawn, seed=1)
    shares = scene_data.shares_on_answers(scene, 2)
    answer = dict(zip(drawn.question_cell[0].tolist(), drawn.answer_cell[0].tolist(), strict=True))
    for query, share in enumerate(shares):
        y, x = divmod(query, 10)
        cell = y * STRIDE // 8 * 5 + x * STRIDE // 8
        if cell not in answer:
            assert share == -1
            continue
        top, left = answer[cell] // 5 * 2, answer[cell] % 5 * 2
        total = float(scene.looks[2][query].astype(float)[top : top + 2, left : left + 2].sum())
        assert share == pytest.approx(100 * total, abs=0.51)
    assert set(scene_data.shares_on_answers(scene, 0)) == {-1}


def test_effects_on_answers_are_those_of_their_cells():
    drawn = canvases(seed=1)
    scene = scene_of(drawn, seed=1)
    answer = dict(zip(drawn.question_cell[0].tolist(), drawn.answer_cell[0].tolist(), strict=True))
    for query, share in enumerate(scene_data.effect_on_answers(scene, 1)):
        y, x = divmod(query, 10)
        cell = y * STRIDE // 8 * 5 + x * STRIDE // 8
        if cell not in answer:
            assert share == -1
        else:
            row, column = divmod(answer[cell], 5)
            assert share == round(100 * float(scene.effect[1][query][row, column]))


def test_the_page_starts_where_networks_disagree():
    assert scene_data.telling_query([-100, 3, 5, 7], [[0, 3, 5, 7], [0, 3, 1, 7], [0, 3, 5, 2], [0, 3, 1, 7]]) == 2
    assert scene_data.telling_query([-100, -100, -100], [[1, 1, 1]]) == 1


def test_the_strip_counts_questions():
    drawn = canvases(seed=2)
    scene = scene_of(drawn, seed=2)
    everything_right = strip.answers(scene, strip.TRUTH)
    assert len(everything_right) == 8
    assert all(answer.right for answer in everything_right)
    boxes = {(answer.top, answer.left) for answer in everything_right}
    assert boxes == {(cell // 5 * 8, cell % 5 * 8) for cell in drawn.question_cell[0].tolist()}
    scene.prediction[1] = scene.truth
    answer = everything_right[5]
    box = (slice(answer.top, answer.top + 8), slice(answer.left, answer.left + 8))
    scene.prediction[1][box] = (answer.truth + 1) % 10
    assert strip.score_words(strip.answers(scene, "criss-cross R=1")) == "7 of 8 right"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["U-Net", "criss-cross R=1", "criss-cross R=2", "criss-cross R=3"], ["criss-cross R=1", "criss-cross R=2"]),
        (["U-Net", "criss-cross R=1", "non-local"], ["U-Net", "criss-cross R=1"]),
        (["U-Net"], ["U-Net"]),
        ([], []),
    ],
)
def test_the_strip_shows_one_pass_and_two(names, shown):
    assert strip.strip_networks(names) == shown


def test_pack_keeps_the_first_scenes_that_fit():
    scenes = [scene_of(canvases(seed=seed), seed) for seed in range(3)]
    assert len(scene_data.pack(scenes, 10**9)) == 3
    assert len(scene_data.pack(scenes, 0)) == 1
    one = len(str(scene_data.scene_data(scenes[0])))
    assert len(scene_data.pack(scenes, 2 * one)) in (1, 2)
    assert scene_data.pack([], 10**9) == []
