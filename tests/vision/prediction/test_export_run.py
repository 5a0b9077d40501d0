"""`sightline export`: another program needs the file alone to answer as the run does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from tests.vision.prediction.made_up_run import CLASSES, loaded

from sightline.vision.prediction import export_run
from sightline.vision.prediction.export_run import Export, run

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.compile  # the tracer cannot trace shape checks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(export_run, "load_run", lambda folder, trust: loaded(folder))
    return tmp_path


def test_the_file_alone_answers_as_the_run_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(Export(folder, normalise=True))
    assert report.file == folder / "network.onnx"
    assert capsys.readouterr().out == f"{report}\n"
    session = onnxruntime.InferenceSession(report.file)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == list(CLASSES)
    assert told["task"] == "segment"
    assert told["input"].startswith("uint8 [batch, 3, height, width], RGB")
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 13, 18), dtype=np.uint8)
    (logits,) = session.run(None, {"image": image})
    normalised = (image / 255 - np.array(json.loads(told["mean"]))[:, None, None]) / np.array(json.loads(told["std"]))[
        :, None, None
    ]
    expected = loaded(folder).network(torch.from_numpy(normalised).float())
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)
    plain = run(Export(folder, out=folder / "plain.onnx", size=(11, 14)))
    (again,) = onnxruntime.InferenceSession(plain.file).run(None, {"image": normalised.astype(np.float32)})
    np.testing.assert_allclose(again, logits, rtol=1e-4, atol=1e-4)


def test_a_program_carries_the_same(folder: Path) -> None:
    report = run(Export(folder, format="program"))
    assert report.file == folder / "network.pt2"
    extra = {"sightline.json": ""}
    torch.export.load(report.file, extra_files=extra)
    told = json.loads(extra["sightline.json"])
    assert set(told) == {"task", "classes", "mean", "std", "input", "output", "sizes"}
    assert told["output"].startswith("float32 [batch, classes, height, width]")


def test_a_format_that_there_is_not(folder: Path) -> None:
    with pytest.raises(ValueError, match="unknown format 'onx': did you mean 'onnx'"):
        run(Export(folder, format="onx"))


def test_it_is_a_command() -> None:
    words = ["runs/shapes", "--out", "a.onnx", "--normalise", "--size", "64", "96"]
    assert tyro.cli(Export, args=words) == Export(Path("runs/shapes"), Path("a.onnx"), "onnx", True, (64, 96))
