"""A training process killed with -9 and started again writes the same folder, byte for byte, as one left in peace."""

import subprocess
import sys
import time
from pathlib import Path

TRAINING = """
import sys, time
import torch
from torch import nn
from sightline.run import (append_metrics, has_checkpoint, load_checkpoint, open_run, save_checkpoint, seed_everything)
folder, pause = sys.argv[1], float(sys.argv[2])
torch.set_num_threads(1)
open_run(folder, {"steps": 40}, resume=True)
seed_everything(5)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
data = torch.Generator().manual_seed(1)
kept = {"states": {"optimizer": optimizer}, "generators": {"data": data}}
first = load_checkpoint(folder, model, **kept).step if has_checkpoint(folder) else 0
for step in range(first, 40):
    x = torch.rand(8, 6, generator=data)
    loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    append_metrics(folder, {"step": step, "loss": loss})
    if step % 4 == 3:
        save_checkpoint(folder, model, step=step + 1, **kept)
    time.sleep(pause)
"""


def start(folder: Path, pause: float) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", TRAINING, str(folder), str(pause)])


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_killed_and_started_again(tmp_path: Path) -> None:
    whole, killed = start(tmp_path / "whole", 0.0), start(tmp_path / "killed", 0.1)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    give_up = time.monotonic() + 120
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 18:  # between two checkpoints
        assert time.monotonic() < give_up, "the training never wrote its rows"
        time.sleep(0.005)
    killed.kill()
    assert killed.wait(60) < 0, "it had finished before it was killed"
    assert metrics.read_bytes().count(b"\n") < 40
    assert start(tmp_path / "killed", 0.0).wait(120) == 0
    assert whole.wait(120) == 0
    assert files(tmp_path / "whole") == files(tmp_path / "killed")
