"""Trainings that stop and go on, and scores counted by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sightline.run import read_metrics
from sightline.studies.positions import grids
from sightline.studies.positions.training import (
    TEST_SEED,
    Budget,
    Training,
    answers,
    read_rows,
    run_training,
    scores,
    train,
)

SMALL = Budget(
    steps=8, batch=4, sequences=4, cells=(4, 4), length=8, test_cells=((4, 4), (4, 6)), test_lengths=(8, 16),
    test_canvases=6, test_sequences=6, report_every=3, save_every=5,
)  # fmt: skip


def after(count: int):
    calls = [0]

    def stop() -> bool:
        calls[0] += 1
        return calls[0] >= count

    return stop


@pytest.mark.parametrize(("task", "scheme"), [("image", "rotary mixed"), ("sequence", "learned")])
def test_a_resumed_training_equals_one_that_never_stopped(task: str, scheme: str, tmp_path: Path) -> None:
    training = Training(task, scheme, 1, SMALL)
    whole = train(training, tmp_path / "whole")
    assert train(training, tmp_path / "parts", stop=after(4)) is None
    torch.rand(3)
    resumed = train(training, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)
    steps = [[row["step"] for row in read_metrics(tmp_path / part / training.folder)] for part in ("whole", "parts")]
    assert steps == [[3, 6, 8]] * 2


def test_a_score_counts_the_questions_of_its_kind() -> None:
    training = Training("image", "none", 0, SMALL)
    torch.manual_seed(0)
    network = training.network()
    grid = grids.draw(6, (4, 6), "test", torch.Generator().manual_seed(TEST_SEED))
    said = answers(network, "image", grid.image)
    found = scores(network, training, (4, 6))
    for number, kind in enumerate(grids.QUESTIONS):
        here = grid.question == number
        assert found[kind] == pytest.approx(float((said == grid.label)[here].double().mean()))


def test_a_sequence_is_scored_at_its_last_places_alone() -> None:
    training = Training("sequence", "none", 0, SMALL)

    class KnowsTheEnd(torch.nn.Module):
        """Right at the last eight places, wrong before."""

        def forward(self, token):
            first = torch.nn.functional.one_hot(token[:, :1].expand_as(token), 16).float()
            back = torch.nn.functional.one_hot(token.roll(3, 1), 16).float()
            out = torch.stack([back, first], 2)
            out[:, :-8] *= -1
            return out

    assert scores(KnowsTheEnd(), training, (16,)) == {"back": 1.0, "first": 1.0}
    assert scores(KnowsTheEnd(), training, (8,)) == {"back": 1.0, "first": 1.0}


def test_one_training_leaves_the_rows_of_all_that_it_serves(tmp_path: Path) -> None:
    training = Training("image", "relative resized", 0, replace(SMALL, steps=2))
    assert read_rows(training, tmp_path) is None
    assert run_training(training, tmp_path, resume=False)
    rows = read_rows(training, tmp_path)
    assert [row["scheme"] for row in rows] == ["relative resized", "relative clipped"]
    resized, clipped = ([test["scores"] for test in row["tests"]] for row in rows)
    assert resized[0] == clipped[0]  # at the size of training
    assert [test["size"] for test in rows[0]["tests"]] == [[4, 4], [4, 6]]
    json.dumps(rows, allow_nan=False)
