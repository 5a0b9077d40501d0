"""The study as a whole: what it trains and refuses, its pictures and its page, and that it resumes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.studies.long_range.made_up_study import canvases, scene_of
from tests.studies.page_reader import self_contained

from sightline.studies.long_range.networks import CONTEXTS, NETWORKS, WITHOUT
from sightline.studies.long_range.scenes import load_scenes
from sightline.studies.long_range.training import Budget
from sightline.studies.recurrence import page, pictures, study
from sightline.studies.recurrence.study import Recurrence, run, trainings_of


def test_every_number_of_passes_gets_the_same() -> None:
    trainings = trainings_of(Recurrence(seeds=3))
    assert [t.network for t in trainings] == [f"criss-cross R={r}" for r in (0, 1, 2, 3)] * 3
    assert len({t.budget for t in trainings}) == 1
    assert {(t.task, t.digits) for t in trainings} == {("recall", 4)}
    assert [t.seed for t in trainings] == [0] * 4 + [1] * 4 + [2] * 4


def test_the_long_range_study_keeps_its_ten_networks() -> None:
    assert len(NETWORKS) == 10
    assert WITHOUT in CONTEXTS
    assert WITHOUT not in NETWORKS


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Recurrence(passes=(1, 4)), "--passes must lie between 0 and 3, got 1 4"),
        (Recurrence(passes=()), "--passes must lie between 0 and 3, got none"),
        (Recurrence(digits=137), "--digits must lie between 1 and 136, the cells that squares leave free, got 137"),
        (Recurrence(workers=0), "--workers must be at least 1, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: Recurrence, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        trainings_of(settings)


def small_budget(steps: int) -> Budget:
    return Budget(steps=steps, width=8, squares=4, rows=4, columns=5, batch=4, test_canvases=16)


def test_a_small_study_leaves_numbers_pictures_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "Budget", small_budget)
    settings = Recurrence(out=tmp_path, passes=(0, 1), steps=2, workers=1)
    run(settings)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["finished"]
    none, one = results["summary"]
    assert (none["passes"], none["field"], none["look_on_cross"]) == (0, 1, None)
    assert (one["passes"], one["field"], one["look_off_cross"]) == (1, 8, 0.0)
    assert none["found_bit_by_bit"]
    assert one["found_bit_by_bit"]
    assert none["parameters"] < one["parameters"]
    assert {row["passes"] for row in results["rows"]} == {0, 1}
    assert load_scenes(tmp_path / "scenes.npz")[0].networks == ["criss-cross R=0", "criss-cross R=1"]
    words = self_contained(tmp_path / "report.html")
    for expected in ("R=0", "sees 8 of 20 cells", "sightline study recurrence --out", "no attention"):
        assert expected in words
    assert min((tmp_path / name).stat().st_size for name in ("sight.png", "strip.png")) > 1000
    run(replace(settings, resume=True))
    with pytest.raises(FileExistsError, match="already holds a study"):
        run(settings)


def test_the_query_is_the_question_nearest_the_middle_whose_answer_lies_off_its_cross() -> None:
    drawn = canvases(seed=3)
    names = ("criss-cross R=1", "criss-cross R=2")
    query = pictures.telling_query(scene_of(drawn, names=names))
    rows, columns = drawn.cells
    off = []
    for asks, answers in zip(drawn.question_cell[0].tolist(), drawn.answer_cell[0].tolist(), strict=True):
        (y, x), (v, u) = divmod(asks, columns), divmod(answers, columns)
        if y != v and x != u:
            off.append((abs(y - (rows - 1) / 2) + abs(x - (columns - 1) / 2), asks))
    assert query in {asks for far, asks in off if far == min(off)[0]}


def test_panels_say_what_they_show() -> None:
    scene = scene_of(canvases(seed=3), names=("criss-cross R=2", "criss-cross R=1"))
    fields, looks = pictures.sight_panels(scene)
    assert [panel[0] for panel in fields] == ["R=1", "R=2"]
    query = pictures.telling_query(scene)
    seen = scene.reach[scene.networks.index("criss-cross R=1"), query]
    assert fields[0][1] == f"sees {seen.sum()} of 20 cells"
    assert looks[0][1] == "0 % from the answer"  # it stands off the cross
    said, looked = pictures.strip_panels(scene)
    assert [panel[0] for panel in said] == [panel[0] for panel in looked] == ["image", "R=1", "R=2", "ground truth"]
    for panel in (*fields, *looks, *said, *looked):
        png = pictures.draw_panel(panel)
        assert png.startswith(b"\x89PNG")
        assert len(png) > 500


def test_a_field_is_bright_where_it_sees_and_dim_elsewhere() -> None:
    from matplotlib.figure import Figure

    scene = scene_of(canvases(seed=1), names=("criss-cross R=1",))
    axes = Figure().subplots()
    pictures.paint_field(axes, scene, "criss-cross R=1", pictures.telling_query(scene))
    drawn = np.asarray(axes.images[0].get_array())
    seen = scene.reach[0, pictures.telling_query(scene)].repeat(8, 0).repeat(8, 1)
    assert drawn[seen].min() >= 70
    assert drawn[~seen].max() < 80
    assert axes.get_xlim() == (0, 40)
    assert axes.get_ylim() == (32, 0)


def test_a_page_without_scenes_or_rows_stands(tmp_path: Path) -> None:
    made = {"summary": [], "rows": [], "settings": {"digits": 4}, "finished": False, "command": "x", "chance": 0.1}
    words = self_contained(page.write_page(tmp_path, made, []))
    assert "0 trainings are done" in words
    assert "There are no numbers yet." in words
