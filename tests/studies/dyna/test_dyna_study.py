"""The study of Dyna: what is told is what was lived, the page follows its numbers, and a stopped study goes on."""

import copy
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from sightline.rl.tabular.lives import new_mind, walk
from sightline.studies.dyna import deep, figures, learners, page
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
    nothing = {**results, "summary": summarise({}, deep.QUICK), "finished": False}
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
    assert len(found["parts"]) == len(parts_of(settings)) == 16
    assert "It ran with --quick" in (tmp_path / "dyna" / "report.html").read_text()
    run(DynaStudy(out=tmp_path / "dyna", quick=True, resume=True))
    with pytest.raises(ValueError, match="a spread needs 2 runs and lives or more"):
        run(DynaStudy(out=tmp_path / "other", runs=1))
    with pytest.raises(ValueError, match="learners with networks have 0 lives or more, got --seeds -1"):
        run(DynaStudy(out=tmp_path / "other", seeds=-1))
    assert len(parts_of(DynaStudy(seeds=0))) == 12
    for name, one in found["summary"]["deep"].items():
        assert one["seeds"] == 1
        assert len(one["mean"]) == 3
        assert one["updates_per_step"] == pytest.approx(0.0 if name == "model-based" else 0.5, abs=0.01)
    assert len(page.tables_of(found)) == 5
    assert "deep" in figures.all_of(found)


def test_the_motor_turns_at_the_very_step_and_returns_are_the_episodes() -> None:
    plain, turned = gymnasium.make("Pendulum-v1"), deep.Turned(gymnasium.make("Pendulum-v1"), 250)
    rng, total, returns = np.random.default_rng(0), 0.0, []
    plain.reset(seed=0)
    turned.reset(seed=0)
    for step in range(400):
        action = rng.uniform(-2, 2, 1).astype(np.float32)
        expected = plain.step(action if step < 250 else -action)
        found = turned.step(action)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1:4] == expected[1:4]
        total += float(expected[1])
        if expected[3]:
            returns.append(total)
            total = 0.0
            plain.reset(seed=step)
            turned.reset(seed=step)
    assert turned.returns == pytest.approx(returns)
    assert len(returns) == 2


def test_lives_are_told_by_their_episodes() -> None:
    how = deep.Life(steps=1600, change=800)
    lives = [
        {"returns": [-1000, -900, -240, -130, -1500, -1300, -200, -100], "updates": 3200, "milliseconds_per_step": 4.0},
        {"returns": [-1000, -1100, -1000, -600, -1700, -1100, -500, -300], "updates": 1600, "milliseconds_per_step": 2},
    ]
    found = deep.summary_of(lives, how)
    assert found["knows"] == [600, None]
    assert found["updates_per_step"] == 1.5
    assert found["milliseconds_per_step"] == 3
    assert found["before"]["high"] == pytest.approx(-(900 + 240 + 130) / 3)
    assert found["after"] == {"mean": -1400, "low": -1400, "high": -1400}
    assert found["late"]["low"] == pytest.approx(-(1100 + 500 + 300) / 3)
    assert found["mean"][:2] == [-1000, -1000]
    assert (found["low"][1], found["high"][1]) == (-1100, -900)


def test_the_line_of_networks_says_who_never_knew() -> None:
    one = {"knows": [600, None, 800], "seeds": 3, "milliseconds_per_step": 2.0,
           **{when: {"mean": -100.0} for when in ("before", "after", "late")}}  # fmt: skip
    names = {name: {**one, "knows": [None] * 3} if name == "model-free" else one for name in deep.LEARNERS}
    told = page.deep_line({"summary": {"deep": names}})
    assert told is not None
    assert "model-free never, 2 ms a step" in told[1]
    assert "Dyna after 800 real steps (2 of 3 lives)" in told[1]
    del names["Dyna"]
    assert page.deep_line({"summary": {"deep": names}}) is None
