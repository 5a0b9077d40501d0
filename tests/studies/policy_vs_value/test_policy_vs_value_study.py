"""The study runs, goes on, writes its page, and its verdict follows the numbers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.studies.page_reader import self_contained

from sightline.studies.policy_vs_value import page, study
from sightline.studies.policy_vs_value.study import PolicyVsValue, reached, run

COMMITTED = Path(__file__).parents[3] / "docs" / "results" / "policy-vs-value.json"


def test_a_quick_study_writes_its_page_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    settings = PolicyVsValue(out=tmp_path, quick=True)
    every = study.parts_of(settings)
    monkeypatch.setattr(study, "parts_of", lambda _: every[:3])
    run(settings)
    assert "A random optimum" in self_contained(tmp_path / "report.html")
    monkeypatch.setattr(study, "parts_of", lambda _: every)
    run(replace(settings, resume=True))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["finished"]
    assert list(results["parts"]) == [part.name for part in every]
    words = self_contained(tmp_path / "report.html")
    assert "sightline study policy-vs-value" in words
    assert "It ran with --quick: the numbers show the page and mean nothing." in words
    assert "nan" not in words.lower().split()


def test_the_committed_verdict_follows_from_its_numbers() -> None:
    results = json.loads(COMMITTED.read_text())
    assert results["summary"] == json.loads(json.dumps(study.summarise(results["parts"])))
    lead, _ = page.answer_of(results)[0]
    assert lead.startswith("Learn a policy where the best behaviour is random")
    corridor = results["summary"]["corridor"]
    for one in corridor["policy"].values():
        assert one["value"]["low"] > corridor["best_value"] - 1
        assert one["right"]["low"] - 0.05 < corridor["best_right"] < one["right"]["high"] + 0.05
        assert one["seeds"] >= 3
    worse = json.loads(COMMITTED.read_text())
    for one in worse["summary"]["corridor"]["policy"].values():
        one["value"]["mean"] = -60.0
    assert page.answer_of(worse)[0][0] == "These numbers do not show a policy method to be better:"


def test_when_something_was_learned() -> None:
    one = {"steps": [0, 10, 20, 30, 40], "costs": [9.0, 1.0, 3.0, 1.0, 1.0]}
    assert reached(one, 1.0) == 30
    assert reached(one, 3.0) == 10
    assert reached(one, 0.5) is None


def test_settings_that_do_not_fit_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="--seeds must be at least 1, got 0"):
        run(PolicyVsValue(seeds=0))
