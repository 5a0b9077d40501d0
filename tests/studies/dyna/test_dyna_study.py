"""The study of Dyna: what is told is what was lived, the page follows its numbers, and a stopped study goes on."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.rl.tabular.lives import new_mind, walk
from sightline.studies.dyna import figures, learners, page
from sightline.studies.dyna.study import DynaStudy, parts_of, run, summarise

COMMITTED = Path(__file__).parents[3] / "docs" / "results" / "dyna.json"


@pytest.fixture
def results() -> dict[str, Any]:
    return json.loads(COMMITTED.read_text())


def test_episodes_are_means_of_single_runs() -> None:
    found = learners.episodes(5, 3)
    (world,) = learners.worlds_of("dyna")
    agent = learners.FIGURE_8_2[5]
    lengths = [
        walk(new_mind(agent, 54, 4), agent, world, np.random.default_rng(seed), episodes=50).lengths
        for seed in range(3)
    ]
    np.testing.assert_allclose(found["mean"], np.mean(lengths, 0), atol=1e-3)
    assert found["below"] == next(i for i, value in enumerate(found["mean"], 1) if value < 20)


def test_lives_and_prices_are_of_the_same_lives() -> None:
    found = learners.lives("blocking", "Dyna-Q+", 3)
    steps, agents = learners.FIGURES_8_4_AND_8_5["blocking"]
    rewards = np.array([learners.live("blocking", agents["Dyna-Q+"], steps, seed)[0] for seed in range(3)])
    assert found["late"]["mean"] == pytest.approx(rewards[:, -500:].mean())
    assert found["steps"][:3] == [0, 25, 50]
    np.testing.assert_allclose(found["mean"][2], rewards[:, :51].sum(1).mean(), atol=1e-3)
    price = learners.price("model-free", 3)
    assert price["steps"] == price["updates"]
    assert price["updates_per_step"] == 1
    assert price["blocking"]["after"]["mean"] >= 0
    assert learners.price("sweeping", 3)["updates_per_step"] < 1 < learners.price("model-based", 3)["updates_per_step"]


def test_the_sentence_stands_only_on_numbers(results: dict[str, Any]) -> None:
    told = page.verdict(results)
    assert told is not None
    assert told[0].startswith("A model trades thinking for real steps")
    other = copy.deepcopy(results)
    other["summary"]["lives"]["shortcut"]["Dyna-Q"]["on_the_new_way"] = 0.5
    told = page.verdict(other)
    assert told is not None
    assert told[1].endswith("only the curious one finds the shortcut: no.")
    del other["summary"]["price"]["Dyna-Q"]
    assert page.verdict(other) is None
    assert page.price_line(other) is None


def test_committed_numbers_are_what_the_issue_wants_of_the_figures(results: dict[str, Any]) -> None:
    below = {n: one["below"] for n, one in results["summary"]["episodes"].items()}
    assert all(abs(below[n] - wanted) <= 1 for n, wanted in {"0": 29, "5": 6, "50": 3}.items())
    assert {one["runs"] for one in results["summary"]["episodes"].values()} == {300}
    assert "sightline study dyna" in results["command"]
    assert len(page.tables_of(results)) == 4
    assert len(figures.all_of(results)) == 4


def test_a_page_of_little_shows_little(results: dict[str, Any], tmp_path: Path) -> None:
    nothing = {**results, "summary": summarise({}), "finished": False}
    words = page.write_page(tmp_path, nothing).read_text()
    assert "--resume goes on" in words
    assert page.tables_of(nothing) == []
    assert figures.all_of(nothing) == {}


def test_the_command_in_seconds_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = DynaStudy(out=tmp_path / "dyna", quick=True)
    run(settings)
    said = capsys.readouterr().out
    assert said.rstrip().endswith("report.html")
    found = json.loads((tmp_path / "dyna" / "results.json").read_text())
    assert found["finished"]
    assert len(found["parts"]) == len(parts_of(settings)) == 12
    assert "It ran with --quick" in (tmp_path / "dyna" / "report.html").read_text()
    run(DynaStudy(out=tmp_path / "dyna", quick=True, resume=True))
    with pytest.raises(ValueError, match="a spread needs 2 runs and lives or more"):
        run(DynaStudy(out=tmp_path / "other", runs=1))
