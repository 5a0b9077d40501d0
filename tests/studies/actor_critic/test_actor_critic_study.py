"""The study runs, goes on, writes its page, and what it says follows from its numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.studies.page_reader import self_contained

from sightline.studies.actor_critic import page, study
from sightline.studies.actor_critic.study import LAMBDAS, ActorCritic, error, run

COMMITTED = Path(__file__).parents[3] / "docs" / "results" / "actor-critic.json"


def test_a_quick_study_writes_its_page_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    settings = ActorCritic(out=tmp_path, quick=True)
    every = study.parts_of(settings)
    monkeypatch.setattr(study, "parts_of", lambda _: every[:2])
    run(settings)
    self_contained(tmp_path / "report.html")
    monkeypatch.setattr(study, "parts_of", lambda _: every)
    run(replace(settings, resume=True))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["finished"]
    words = self_contained(tmp_path / "report.html")
    assert "sightline study actor-critic" in words
    assert "Noise falls with episodes, bias stays" in words
    assert "Return while learning" in words


def test_the_committed_words_follow_from_the_numbers() -> None:
    results = json.loads(COMMITTED.read_text())
    assert results["summary"] == json.loads(json.dumps(study.summarise(results["parts"])))
    leads = [lead for lead, _ in page.answer_of(results)]
    assert leads[0].startswith("A baseline takes noise out for nothing")
    ways = results["summary"]["ways"]
    assert ways["none"]["noise"]["low"] > ways["constant"]["noise"]["high"] > ways["TD(0)"]["noise"]["high"]
    assert all(one["seeds"] >= 3 for one in results["summary"]["learning"].values())
    for one in results["summary"]["critics"]:
        assert one["bias"][-1] < 1e-9
        assert one["noise"][-1] > one["noise"][0]
        best = list(one["best"].values())
        assert best == sorted(best), "the more is averaged, the larger the best lambda"
    worse = json.loads(COMMITTED.read_text())
    worse["summary"]["ways"]["TD(0)"]["noise"]["mean"] = 1e3
    assert page.answer_of(worse)[0][0] == "What a baseline and a critic take out:"


def test_errors_are_bias_and_noise_together() -> None:
    assert error(np.array([3.0, 0.0]), np.array([0.0, 2.0]), 9) == [1.0, 2.0]
    assert (LAMBDAS[0], LAMBDAS[-1], len(LAMBDAS)) == (0.0, 1.0, 21)


def test_settings_that_do_not_fit_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="--seeds must be at least 1, got 0"):
        run(ActorCritic(seeds=0))
