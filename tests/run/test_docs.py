"""The example in `docs/runs.md` runs as it stands, and resumes to the same bytes."""

import re
import shutil
from pathlib import Path

import pytest

from sightline.run import read_metrics

PAGE = Path(__file__).parents[2] / "docs" / "runs.md"


def test_the_example_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    run = tmp_path / "runs" / "mine"
    assert [row["step"] for row in read_metrics(run)] == list(range(20))
    whole = {path.name: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    shutil.rmtree(run)
    dies = "schedule.step()\n        if step == 13:\n            raise RuntimeError('stopped here')\n"
    with pytest.raises(RuntimeError, match="stopped here"):
        exec(example.replace("schedule.step()\n", dies, 1), {})
    assert len(read_metrics(run)) == 13
    exec(example, {})
    assert {path.name: path.read_bytes() for path in run.rglob("*") if path.is_file()} == whole
