"""A save that is killed anywhere, or meets a full disk, leaves a whole checkpoint."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from sightline.run import (
    append_metrics,
    save_checkpoint,
    write_whole,
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


KILLED = """
import os, shutil, sys, time
from pathlib import Path
import torch
from torch import nn
from sightline.run import append_metrics, load_checkpoint, save_checkpoint, has_checkpoint, open_run
torch.set_num_threads(1)
folder, mode = Path(sys.argv[1]), sys.argv[2]

def write(step):
    model = nn.Linear(40, 40)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    save_checkpoint(folder, model, step=step, extra=[step])

def whole():
    model = nn.Linear(40, 40)
    checkpoint = load_checkpoint(folder, model)
    assert all((parameter == checkpoint.step).all() for parameter in model.parameters()), "weights of another step"
    assert checkpoint.extra == [checkpoint.step]
    return checkpoint.step

write(1)
if mode == "every call":
    at = 0
    while True:
        child = os.fork()
        if child == 0:
            calls = [0]
            def dying(function):
                def instead(*arguments, **named):
                    if calls[0] == at:
                        os._exit(9)
                    calls[0] += 1
                    return function(*arguments, **named)
                return instead
            for name in ("mkdir", "open", "write", "fsync", "rename", "unlink", "rmdir"):
                setattr(os, name, dying(getattr(os, name)))
            write(at + 2)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert whole() in (1, at + 2), whole()
        if code == 0:
            assert whole() == at + 2
            break
        assert code == 9
        write(1)
        assert sorted(p.name for p in folder.iterdir()) == ["checkpoint"], list(folder.iterdir())
        at += 1
    print("calls", at)
else:
    import random
    random.seed(0)
    seen = set()
    for trial in range(25):
        child = os.fork()
        if child == 0:
            step = 1
            while True:
                step += 1
                write(step)
        time.sleep(random.uniform(0.001, 0.02))
        os.kill(child, 9)
        os.waitpid(child, 0)
        seen.add(whole())
    print("steps", sorted(seen))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to be killed need POSIX")
@pytest.mark.parametrize("mode", ["every call", "any moment"])
def test_a_save_killed_anywhere_leaves_a_whole_checkpoint(tmp_path: Path, mode: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), mode], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    if mode == "every call":
        assert int(done.stdout.split()[1]) > 10


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(40, 40)
    append_metrics(tmp_path, {"step": 1})
    save_checkpoint(tmp_path, model, step=2)
    before = files(tmp_path)
    written = [0]
    write = os.write

    def full(file: int, data: memoryview) -> int:
        if written[0] > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written[0] += 1000
        return write(file, bytes(data)[:1000])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"could not be written.*the previous checkpoint is untouched.*no space left"):
        save_checkpoint(tmp_path, model, step=3)
    with pytest.raises(OSError, match=r"a row of .*metrics.jsonl could not be written: no space left on device"):
        append_metrics(tmp_path, {"step": 2})
    with pytest.raises(OSError, match=r"results.json could not be written: no space left on device"):
        write_whole(tmp_path / "results.json", "x" * 5000)
    assert files(tmp_path) == before
