"""The loop: rows are means since the last row, the schedule follows every step, and a stop loses neither."""

from pathlib import Path

import torch

from sightline.run import open_run, read_metrics
from sightline.studies import loop


def go(folder: Path, *, resume: bool = False, stop_at: int | None = None) -> tuple[bool, float]:
    """Seven steps whose losses are 1, 2, ... 7, a row every third; whether it ended, and the last learning rate."""
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    generator = torch.Generator().manual_seed(0)
    trained = loop.Trained(network, optimizer, schedule, generator)
    calls: list[int] = []

    def step() -> torch.Tensor:
        optimizer.step()
        torch.rand(1, generator=generator)
        calls.append(1)
        return torch.tensor(float(schedule.last_epoch + 1))

    ended = loop.train(
        open_run(folder, {"what": "a test"}, resume=resume),
        trained,
        loop.Pace(steps=7, report_every=3, save_every=4),
        step,
        lambda: {"score": 0.5},
        stop=lambda: len(calls) == stop_at,
    )
    return ended, optimizer.param_groups[0]["lr"]


def test_a_row_holds_the_mean_since_the_last_one(tmp_path: Path) -> None:
    ended, rate = go(tmp_path)
    assert ended
    assert rate == 0.5**7
    rows = read_metrics(tmp_path)
    assert [(row["step"], row["loss"], row["score"]) for row in rows] == [(3, 2.0, 0.5), (6, 5.0, 0.5), (7, 7.0, 0.5)]
    assert rows[0]["seconds"] < rows[1]["seconds"] < rows[2]["seconds"]


def test_a_stop_in_the_middle_of_a_row_loses_nothing_of_it(tmp_path: Path) -> None:
    assert go(tmp_path, stop_at=2) == (False, 0.5**2)
    assert read_metrics(tmp_path) == []
    assert go(tmp_path, resume=True, stop_at=3) == (False, 0.5**5)
    assert go(tmp_path, resume=True) == (True, 0.5**7)
    assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [(3, 2.0), (6, 5.0), (7, 7.0)]
