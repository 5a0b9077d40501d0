"""Training learns, through the command: drawn shapes are told apart by their outlines, handwritten digits are read."""

from dataclasses import replace
from pathlib import Path

import pytest

from sightline.cli import main
from sightline.run import read_metrics
from sightline.vision.built_in.shapes import write_folder
from sightline.vision.training.settings import TrainSegment, run_segment

SETTINGS = TrainSegment(
    "named below",
    steps=1200,
    auxiliary=0.0,
    learning_rate=3e-3,
    warm_up=60,
    scale=(1.0, 1.0),
    colour=False,
    check=False,
    report_every=100,
    evaluate_every=1200,
    device="cpu",
    threads=1,
    workers=1,
)


@pytest.mark.slow
def test_shapes_are_told_apart(tmp_path: Path) -> None:
    """The floor of 0.4 is out of reach without outlines.

    Colours and textures say nothing of a shape's kind. Who finds every shape exactly and gives each any of six kinds
    has an intersection over union of 1/11 with each kind (a sixth of its pixels are right, and 11 sixths are its or
    given it), and 1 with the background: a mean of 0.22. Who says background everywhere has 0.10.
    """
    write_folder(tmp_path / "shapes", train=1000, val=80, size=(64, 64))
    run_segment(replace(SETTINGS, data=str(tmp_path / "shapes"), out=tmp_path / "run"))
    last = read_metrics(tmp_path / "run")[-1]
    assert last["mean_iou"] > 0.4
    assert all(last[f"IoU/{kind}"] > 1 / 11 for kind in ("disc", "square", "triangle", "ring", "cross", "star"))


def arguments_of(page: str, name: str) -> str:
    """A shell variable of the page, so that the page and the test train the same network."""
    return "".join(line.strip() for line in page.split(f"{name}='")[1].split("'")[0].splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vit", "convolution"])
def test_digits_are_read(tmp_path: Path, network: str) -> None:
    """With the command of docs/digits.md, whose table has the seeds; here one, and the bar that all of them pass."""
    page = (Path(__file__).parents[3] / "docs" / "digits.md").read_text()
    options = page.split("--data digits")[1].split("--evaluate-every")[0]
    words = options.replace('--encoder "$encoder"', "").replace("\\", " ").split()
    encoder = arguments_of(page, network)
    command = ["train", "classify", "--data", "digits", "--encoder", encoder, *words, "--evaluate-every", "400"]
    assert main([*command, "--seed", "0", "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert read_metrics(tmp_path / "run")[-1]["top1"] >= 0.985
