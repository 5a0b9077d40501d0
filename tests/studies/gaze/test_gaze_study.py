"""The class token's two ways are one; erasing finds a cause that was put there; page, resume and refusals."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.studies.page_reader import self_contained

from sightline.envs.box_world import AGENT, PALETTE
from sightline.play.gaze import gaze_of
from sightline.rl.policies.policy import Policy
from sightline.rl.runs.loaded import load_agent
from sightline.studies.gaze import page, probing, study, training
from sightline.studies.gaze.network import Looking
from sightline.studies.gaze.study import WORLD, Gaze, Probed, results_of, run, story, summarise
from sightline.studies.gaze.training import Training


def test_the_fast_row_is_the_attention_s() -> None:
    torch.manual_seed(0)
    network, image = Looking(3, 8, 2).double(), torch.rand(5, 3, 6, 7, dtype=torch.float64)
    fast = network.summary(image)
    torch.testing.assert_close(network.eval().summary(image), fast)
    assert network(image).shape == (5, 8, 6, 7)
    slow = torch.autograd.grad(network.summary(image).square().sum(), list(network.parameters()), allow_unused=True)
    quick = torch.autograd.grad(fast.square().sum(), list(network.parameters()), allow_unused=True)
    for one, other in zip(slow, quick, strict=True):
        torch.testing.assert_close(one, other)


class Cause(Policy):
    """Does what one cell says: up where it is the agent's grey, down where it is not."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def distribution(self, image: torch.Tensor):
        grey = (image[:, 2, 3] == torch.from_numpy(PALETTE[AGENT])).all(1)
        logits = torch.zeros(len(image), 4)
        logits[:, 0] = torch.where(grey, 5.0, -5.0)
        return type("Said", (), {"log_probabilities": logits.log_softmax(1)})


def test_erasing_finds_the_cause() -> None:
    room = probing.background(WORLD)
    room[2, 3], room[4, 4] = PALETTE[AGENT], PALETTE[7]
    gaze = np.full((1, 6, 6), 0.01)
    gaze[0, 4, 4] = 0.6
    share = probing.shares_of(Cause(), room[None])
    seen = probing.Seen(room[None], np.array([0]), np.zeros((1, 6, 6), bool), share, gaze, 1 / 37, 1.0)
    found = probing.probe(seen, Cause(), WORLD)
    assert found["decisive"] == [True]
    assert {name: one[0] for name, one in found["changed"].items()} == {
        "most looked at": 0.0,
        "random thing": 0.5,
        "random cell": pytest.approx(1 / 36, abs=1e-4),
        "least looked-at thing": 1.0,
        "most looked-at thing but itself": 0.0,
        "random thing but itself": 0.0,
    }
    assert found["gaze"]["other things"] == {"share": pytest.approx(0.6), "even": pytest.approx(1 / 36), "first": 1.0}
    assert found["gaze"]["the agent itself"]["share"] == pytest.approx(0.01)


def test_an_interval_is_over_episodes() -> None:
    mean, low, high = probing.interval([1.0] * 50 + [0.0] * 50, [0] * 50 + [1] * 50)
    assert (mean, low, high) == (0.5, 0.0, 1.0)
    mean, low, high = probing.interval([1.0, 0.0] * 50, list(range(100)))
    assert 0.39 < low < mean < high < 0.61


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, without processes."""
    out = tmp_path_factory.mktemp("study")
    settings = Gaze(out=out, quick=True, seeds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "LIMIT", 10)
        trainings = study.trainings_of(settings)
        progress = study.progress_of(trainings, out)
        for one in trainings:
            assert Probed(2)(one, out, False)
            row = study.read_row(one, out)
            assert row is not None
            progress.finish(one, row)
        results = results_of(settings, progress, finished=True)
        (out / "results.json").write_text(json.dumps(results))
        page.write_page(out, results, story(progress, out))
    return out


def test_the_page_says_what_was_found(folder: Path) -> None:
    words = self_contained(folder / "report.html")
    for expected in (
        "Does an agent act on what it looks at?",
        "It ran with --quick",
        "How often does erasing one cell change the action?",
        "An episode: what is there",
        "sightline study gaze --out",
    ):
        assert expected in words, expected
    results = json.loads((folder / "results.json").read_text())
    assert results["summary"]["agents"] == 2
    for table in page.tables_of(results):
        assert {len(row) for row in table.rows} == {len(table.head)}


def test_a_run_is_one_that_play_loads(folder: Path) -> None:
    agent = load_agent(folder / "runs" / "seed0")
    image = WORLD.reset(np.random.default_rng(0), 1)[1]
    look = gaze_of(agent.policy.actor_body, torch.from_numpy(image))
    assert look is not None
    assert look.asks == "the class token"
    assert look.weights.shape == (6, 6)


def test_the_verdict_is_that_of_the_numbers(folder: Path) -> None:
    rows = [json.loads((folder / "runs" / f"seed{seed}" / "row.json").read_text()) for seed in range(2)]
    for row in rows:
        count = len(row["episode"])
        row["episode"], row["decisive"] = list(range(count)), [True] * count
        row["changed"] = {name: [0.1] * count for name in row["changed"]} | {"most looked at": [1.0] * count}
    results = {"rows": rows, "summary": summarise(rows), "settings": {"quick": False}}
    assert results["summary"]["decisive"]["most looked at"]["count"] == sum(len(row["episode"]) for row in rows)
    assert page.answer_of(results)[0][0] == "Far more often than a random cell, and more often than a random thing:"
    results["summary"]["decisive"]["most looked at"] |= {"low": 0.01, "high": 0.05}
    assert page.answer_of(results)[0][0] == "Hardly more than a random cell, but less often than a random thing:"


def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHAPTER", 2)
    monkeypatch.setattr(training, "ENVIRONMENTS", 4)
    one = Training(WORLD, 5, 0, width=8)
    whole = training.train(one, tmp_path / "whole")
    assert training.train(one, tmp_path / "parts", stop=lambda: True) is None
    again = training.train(one, tmp_path / "parts", resume=True)
    assert whole is not None
    assert again is not None
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    metrics = [(tmp_path / name / one.folder / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]


def test_the_loss_leaves_the_choice_between_good_steps() -> None:
    said = torch.tensor([[0.5, 0.3, 0.1, 0.1]]).log()
    good = torch.tensor([[True, True, False, False]])
    assert float(training.loss_of(said, good)) == pytest.approx(-np.log(0.8), rel=1e-6)


@pytest.mark.parametrize("name", ["seeds", "updates", "episodes", "workers"])
def test_settings_that_do_not_fit_are_one_sentence(name: str) -> None:
    with pytest.raises(ValueError, match=f"--{name} must be at least 1, got 0"):
        run(replace(Gaze(), **{name: 0}))
