"""A training that is killed leaves no reading process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os
from sightline.vision.augmentation.augment import Augmentation
from sightline.vision.training.batches import batches
from sightline.vision.built_in.digits import Digits

if __name__ == "__main__":
    it = batches(Digits("train"), Augmentation(crop=(8, 8)), batch=4, updates=range(10_000), workers=2)
    next(it)
    print(os.getpid(), flush=True)
    next(it)
    import time
    time.sleep(600)
"""


def group(leader: int) -> list[str]:
    """The processes of a group that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == leader and state not in "ZX":
            found.append(stat.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux which processes live")
def test_loaders_end_with_a_training_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script)]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    assert training.stdout is not None
    try:
        assert int(training.stdout.readline()) == training.pid
        assert len(group(training.pid)) >= 4, "the training, the server and two loaders"
        training.send_signal(signal.SIGKILL)
        training.wait(10)
        until = time.monotonic() + 30
        while group(training.pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not group(training.pid)
    finally:
        training.stdout.close()
        for process in group(training.pid):
            os.kill(int(process), signal.SIGKILL)
