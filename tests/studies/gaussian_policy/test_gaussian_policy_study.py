"""The whole study with tiny settings: its numbers, its page, a stop in the middle, what it refuses."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.studies.page_reader import self_contained

from sightline.envs.making import make_environments
from sightline.studies.gaussian_policy import page, pendulum, study
from sightline.studies.gaussian_policy.study import GaussianPolicy, parts_of, run


def made_up(kind: pendulum.Kind, seed: int, steps: int) -> dict[str, object]:
    """What `pendulum.learn` gives, in no time."""
    numbers = {name: [0.0, 0.1] for name in ("border", "outside")} | {"steps": [0, steps], "value": [-1400.0, -150.0]}
    scale = {"scale": [1.0, kind.scale or 0.5], "greedy": -140.0}
    return numbers | scale | ({"field": [[0.1, 0.2], [0.3, 0.4]]} if kind.by_state else {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pendulum, "learn", made_up)
        run(GaussianPolicy(out=out, quick=True))
    return out


def test_the_page_says_what_was_found(folder: Path) -> None:
    words = self_contained(folder / "report.html")
    for expected in (
        "What does the scale of a Gaussian policy do?",
        "The scale costs its square",
        "Beyond the border a clipped policy hears nothing",
        "On Pendulum with PPO, return of drawn actions",
        "It ran with --quick",
        "sightline study gaussian-policy --out",
    ):
        assert expected in words, expected


def test_every_number_is_in_the_results(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert set(results["parts"]) == {part.name for part in parts_of(GaussianPolicy(quick=True))}
    assert [row["kind"] for row in results["summary"]["pendulum"]] == [kind.name for kind in pendulum.KINDS]
    for table in page.tables_of(results):
        assert {len(row) for row in table.rows} == {len(table.head)}


def test_a_verdict_is_that_of_the_numbers(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    rows = {row["kind"]: row for row in results["summary"]["pendulum"]}
    for kind, value in (("learned", -150.0), ("squashed", -300.0), ("fixed 2", -800.0), ("by state", -150.0)):
        rows[kind]["drawn"] = {"mean": value, "low": value - 20, "high": value + 20}
    for kind in ("fixed 0.1", "fixed 0.5"):
        rows[kind]["drawn"] = {"mean": -150.0, "low": -300.0, "high": -100.0}
    said = " ".join(sum(page.answer_of(results), ()))
    assert "every seed of the learned one lies above every seed of fixed 2;" in said
    assert "by state and learned cannot be told apart" in said
    assert "clipped is better in every seed" in said


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(*arguments: object) -> list[object]:
        asked.append(arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return []

    monkeypatch.setattr(study, "border_estimates", measured)
    monkeypatch.setattr(study, "estimates", lambda episodes: [])
    settings = GaussianPolicy(out=tmp_path, quick=True)
    with pytest.raises(KeyboardInterrupt, match="--resume goes on"):
        run(settings)
    assert "This study is unfinished." in self_contained(tmp_path / "report.html")
    few = parts_of(settings)[:2]
    monkeypatch.setattr(study, "parts_of", lambda settings: few)
    run(replace(settings, resume=True))
    assert len(asked) == 1
    with pytest.raises(FileExistsError, match="already holds a study"):
        run(settings)


@pytest.mark.parametrize("kind", [pendulum.FIXED[1], pendulum.BY_STATE, pendulum.SQUASHED])
def test_agents_learn_and_are_looked_at(kind: pendulum.Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pendulum, "AGENT", replace(pendulum.AGENT, rollout=32, epochs=1))
    monkeypatch.setattr(pendulum, "LENGTH", 100)
    monkeypatch.setattr(pendulum, "EPISODES", 8)
    found = pendulum.learn(kind, 0, 512)
    assert found["steps"] == [0, 256, 512]
    assert all(-100 * 17 < value < 0 for value in found["value"])
    assert found["greedy"] < 0
    if kind.scale is not None:
        assert found["scale"] == [pytest.approx(kind.scale)] * 3
    else:
        assert found["scale"][0] == pytest.approx(1.0, rel=0.02)
        assert found["scale"][0] != found["scale"][-1]
    assert ("field" in found) == kind.by_state
    expected = 0.0 if kind.scale else 0.046 if not kind.squash else 0.022  # P(|z| > 2), P(|tanh z| > 0.98)
    assert found["border"][0] == pytest.approx(expected, abs=0.03)


def test_a_fixed_scale_stays() -> None:
    envs = make_environments(pendulum.NAME, 2, workers="sync")
    policy = pendulum.make(pendulum.FIXED[0], envs)
    assert policy.log_scale is not None
    assert not policy.log_scale.requires_grad
    torch.testing.assert_close(policy.log_scale.exp(), torch.tensor([0.1]))
    envs.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (GaussianPolicy(seeds=0), "--seeds must be at least 1, got 0"),
        (GaussianPolicy(steps=0), "--steps must be at least 1, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: GaussianPolicy, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(settings)
