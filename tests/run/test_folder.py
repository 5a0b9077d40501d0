"""The run folder: exact resume, metrics that never say a step twice, nothing overwritten."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sightline.run import (
    append_metrics,
    has_checkpoint,
    load_checkpoint,
    open_run,
    read_metrics,
    save_checkpoint,
    seed_everything,
    write_whole,
)
from sightline.run import files as files_module


def network() -> nn.Module:
    body = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(54, 2)
    )
    return body.to(memory_format=torch.channels_last)


def train(folder: Path, until: int, *, total: int = 12, stop_at: int | None = None, resume: bool = False) -> nn.Module:
    """A loop with everything that makes resume hard: dropout, batch norm, momentum, a schedule, data order, numpy."""
    open_run(folder, {"total": total}, resume=resume)
    seed_everything(7)
    data = torch.rand(32, 3, 3, 3, generator=torch.Generator().manual_seed(1)).contiguous(
        memory_format=torch.channels_last
    )
    truth = (data.mean((1, 2, 3)) > 0.5).long()
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=total)
    states: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule}
    generators: dict[str, Any] = {
        "order": torch.Generator().manual_seed(3),
        "noise": np.random.default_rng(4),
        "own": random.Random(5),
    }
    first, order = 0, torch.empty(0, dtype=torch.long)
    if resume and has_checkpoint(folder):
        checkpoint = load_checkpoint(folder, model, states=states, generators=generators)
        first, order = checkpoint.step, checkpoint.extra["order"]
    for step in range(first, until):
        if len(order) < 8:
            order = torch.randperm(32, generator=generators["order"])
        batch, order = order[:8], order[8:]
        noise = float(generators["noise"].normal()) + generators["own"].random() + random.random() + np.random.rand()
        loss = nn.functional.cross_entropy(model(data[batch] + 0.01 * noise), truth[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        append_metrics(folder, {"step": step, "loss": loss, "rate": schedule.get_last_lr()[0], "noise": noise})
        if step + 1 == stop_at:
            save_checkpoint(folder, model, step=step + 1, states=states, generators=generators, extra={"order": order})
    save_checkpoint(folder, model, step=until, states=states, generators=generators, extra={"order": order})
    return model


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("stop_at", [1, 5])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    whole = train(tmp_path / "whole", 12)
    train(tmp_path / "parts", stop_at)
    random.random(), np.random.rand(), torch.rand(1)  # another process would have other random states
    parts = train(tmp_path / "parts", 12, resume=True)
    for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    # The whole folder: config, metrics, weights, optimiser, schedule and every random state.
    assert files(tmp_path / "whole") == files(tmp_path / "parts")
    assert len(read_metrics(tmp_path / "whole")) == 12


def test_rows_after_the_checkpoint_and_a_torn_line_are_cut_on_resume(tmp_path: Path) -> None:
    train(tmp_path / "whole", 12, stop_at=4)
    train(tmp_path / "parts", 4)
    metrics = tmp_path / "parts" / "metrics.jsonl"
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:7]) + lines[7][:9])  # it ran on for three steps and died in the fourth
    assert [row["step"] for row in read_metrics(tmp_path / "parts")] == list(range(7))
    train(tmp_path / "parts", 12, resume=True)
    assert files(tmp_path / "whole") == files(tmp_path / "parts")


def test_a_run_that_died_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    train(tmp_path / "whole", 3)
    open_run(tmp_path / "parts", {"total": 12})
    append_metrics(tmp_path / "parts", {"step": 0, "loss": 9.0})
    train(tmp_path / "parts", 3, resume=True)
    assert files(tmp_path / "whole") == files(tmp_path / "parts")


def test_metrics_shorter_than_their_checkpoint_are_said(tmp_path: Path) -> None:
    train(tmp_path, 3)
    before = files(tmp_path)
    os.truncate(tmp_path / "metrics.jsonl", 10)
    with pytest.raises(ValueError, match=r"metrics.jsonl has 10 bytes, and its checkpoint .* rows were lost"):
        open_run(tmp_path, {"total": 12}, resume=True)
    assert files(tmp_path)["checkpoint/state.json"] == before["checkpoint/state.json"]


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    open_run(tmp_path, {"steps": 1})
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match=r"already holds a run: resume it \(--resume\) or choose another folder"):
        open_run(tmp_path, {"steps": 1})
    with pytest.raises(ValueError, match=r"has another config \(steps was 1 and is now 2\)"):
        open_run(tmp_path, {"steps": 2}, resume=True)
    assert files(tmp_path) == before
    assert open_run(tmp_path, {"steps": 1}, resume=True) == tmp_path
    assert open_run(tmp_path / "new", {"steps": 1}, resume=True) == tmp_path / "new"


def test_metrics_take_numbers_only(tmp_path: Path) -> None:
    append_metrics(tmp_path, {"a": torch.tensor(2), "b": np.float32(0.5), "c": float("nan"), "d": None, "e": "x"})
    assert read_metrics(tmp_path) == [{"a": 2, "b": 0.5, "c": None, "d": None, "e": "x"}]
    with pytest.raises(ValueError, match="a metric is a number or a text, got a Tensor for 'loss'"):
        append_metrics(tmp_path, {"loss": torch.zeros(2)})
    assert len(read_metrics(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"the run folder .* cannot be written: not a directory"):
        open_run(tmp_path / "file" / "run", {})


def test_write_whole_replaces(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "old, and longer")
    write_whole(tmp_path / "a.json", b"new")
    assert files(tmp_path) == {"a.json": b"new"}


def test_two_processes_that_write_one_file_do_not_trip_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, numbers = files_module.write_file, iter([1, 2])

    def meanwhile(path: Path, data: bytes) -> None:
        write(path, data)
        if data == b"ours":  # another process writes the same file between our write and our rename
            files_module.write_whole(tmp_path / "costs.json", "theirs")

    monkeypatch.setattr(files_module, "write_file", meanwhile)
    monkeypatch.setattr(files_module.os, "getpid", lambda: next(numbers))
    files_module.write_whole(tmp_path / "costs.json", "ours")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("costs.json", "ours")]
