"""The command's way from names to a finished run: built, trained, stopped, killed, resumed, loaded."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.models.vit import Size, VisionTransformer
from sightline.run import describe, has_checkpoint, open_run, read_config, read_metrics, save_checkpoint
from sightline.run.config import rebuild
from sightline.vision.prediction.runs import load_run
from sightline.vision.training.build import build_network, entry_of, open_data
from sightline.vision.training.settings import TrainClassify, TrainSegment, run_classify, run_segment

CONVNET = {"object": "sightline.models.convnet:ConvNet", "arguments": {"width": 8, "stride": 4, "dilations": [1]}}
RESNET = {
    "object": "sightline.models.resnet:ResNet",
    "arguments": {"depth": 10, "width": 8, "stem": "small", "output_stride": 8},
}
HEAD = {"object": "sightline.models.ccnet:CrissCrossHead", "arguments": {"inner": 8, "reduction": 4}}
VIT = describe(VisionTransformer, size=Size(16, 2, 2), patch=4)
SHAPES = json.dumps({"object": "sightline.vision.built_in.shapes:Shapes", "arguments": {"count": 12, "size": [16, 20]}})

SETTINGS = TrainSegment(
    SHAPES,
    encoder=json.dumps(CONVNET),
    head=json.dumps(HEAD),
    steps=24,
    batch=5,
    average=0.9,
    check=False,
    report_every=2,
    evaluate_every=12,
    save_every=5,
    device="cpu",
    threads=1,
    workers=0,
)
COMMAND = """
import pickle, sys
from sightline.vision.training.settings import run_segment
if __name__ == "__main__":
    try:
        run_segment(pickle.loads(bytes.fromhex(sys.argv[1])))
    except KeyboardInterrupt as stopped:
        print(stopped)
        sys.exit(130)
"""


def files(folder: Path) -> dict[str, bytes]:
    """What a run leaves, clocks apart: they stand in the metrics and in the checkpoint's state."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    clocks = ("seconds", "images_per_second")
    rows = [{key: value for key, value in row.items() if key not in clocks} for row in read_metrics(folder)]
    state = json.loads(found.pop("checkpoint/state.json"))
    for clock in ("seconds", "learning"):
        del state["extra"][clock]
    del state["metrics_bytes"]  # of numbers of seconds, more or fewer digits
    del found["metrics.jsonl"], found["report.html"]
    return {**found, "rows": json.dumps(rows).encode(), "state": json.dumps(state).encode()}


def start(settings: TrainSegment, folder: Path) -> "subprocess.Popen[str]":
    import pickle

    script = folder.parent / f"{folder.name}.py"
    script.write_text(COMMAND)
    words = [sys.executable, str(script), pickle.dumps(replace(settings, out=folder)).hex()]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_rows(process: "subprocess.Popen[str]", folder: Path, count: int) -> None:
    give_up = time.monotonic() + 120
    metrics = folder / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < count:
        assert time.monotonic() < give_up, "the training never wrote its rows"
        assert process.poll() is None, f"the training ended: {process.communicate()[0]}"
        time.sleep(0.002)


def alive(session: int) -> list[str]:
    """Processes of a session that still run: loaders that nobody ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(path.parent.name)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_segment(replace(SETTINGS, out=folder))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_and_kill_lose_nothing(whole: Path, tmp_path: Path) -> None:
    stopped, killed = tmp_path / "stopped", tmp_path / "killed"
    first, second = start(replace(SETTINGS, workers=2), stopped), start(SETTINGS, killed)
    wait_for_rows(second, killed, 4)  # after step 8: the checkpoint is that of step 5
    second.kill()
    wait_for_rows(first, stopped, 2)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to the loaders as well
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 130
    assert "of 24; the same command with --resume goes on from there" in said
    second.communicate(timeout=60)
    assert second.returncode == -signal.SIGKILL
    for folder in (stopped, killed):
        assert has_checkpoint(folder)
        assert not (folder / "report.html").exists()
        run_segment(replace(SETTINGS, out=folder, resume=True, workers=0))
        assert files(folder) == files(whole)
    give_up = time.monotonic() + 30
    while (left := alive(first.pid) + alive(second.pid)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not left


def test_a_run_folder_is_not_overwritten_and_not_mixed_up(whole: Path) -> None:
    before = files(whole)
    with pytest.raises(FileExistsError, match=r"already holds a run: resume it \(--resume\)"):
        run_segment(replace(SETTINGS, out=whole))
    with pytest.raises(ValueError, match=r"another config .*seed was 0 and is now 1"):
        run_segment(replace(SETTINGS, out=whole, resume=True, seed=1))
    assert files(whole) == before


def test_a_finished_run_resumes_to_itself(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(whole)
    run_segment(replace(SETTINGS, out=whole, resume=True))
    assert files(whole) == before
    said = capsys.readouterr().out
    assert "after 24 steps" in said
    assert "mean IoU" in said
    assert "report.html" in said


def test_a_run_is_loaded_with_its_average(whole: Path) -> None:
    loaded = load_run(whole)
    assert (loaded.task, loaded.size, loaded.ignore, loaded.folder) == ("segment", (16, 20), 255, whole)
    assert loaded.classes == ("background", "disc", "square", "triangle", "ring", "cross", "star")
    assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert not loaded.network.training
    assert loaded.network(torch.zeros(1, 3, 17, 24)).shape == (1, 7, 17, 24)
    from safetensors.torch import load_file

    last = load_file(whole / "checkpoint" / "weights.safetensors")
    differ = [name for name, value in loaded.network.state_dict().items() if not torch.equal(value, last[name])]
    assert differ
    data = open_data(SHAPES, "val", task="segment")
    rows = [row for row in read_metrics(whole) if "mean_iou" in row]
    right = total = 0
    from sightline.vision.augmentation.augment import normalise

    for index in range(len(data)):
        image, mask = data[index]
        right += int((loaded.network(normalise(image)[None]).argmax(1)[0] == mask).sum())
        total += mask.numel()
    assert rows[-1]["pixel_accuracy"] == pytest.approx(right / total, abs=1e-3)


def test_what_is_no_run_is_said(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        load_run(tmp_path)
    open_run(tmp_path / "other", {"model": {}})
    with pytest.raises(ValueError, match=r"no run of sightline train .its config has no task"):
        load_run(tmp_path / "other")
    open_run(tmp_path / "new", {**read_config(whole)})
    with pytest.raises(FileNotFoundError, match="has no checkpoint yet"):
        load_run(tmp_path / "new")
    save_checkpoint(tmp_path / "new", torch.nn.Linear(1, 1), step=1)
    with pytest.raises(ValueError, match="is of another network: it lacks"):
        load_run(tmp_path / "new")


def test_images_are_classified_by_a_vision_transformer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.vision.report.page.write_report", lambda folder, **_: folder / "report.html")
    settings = TrainClassify(
        json.dumps({"object": "sightline.vision.built_in.digits:Digits", "arguments": {}}),
        encoder=json.dumps(VIT),
        out=tmp_path / "run",
        steps=4,
        batch=6,
        drop_path=0.2,
        mixup=0.8,
        smoothing=0.1,
        check=False,
        device="cpu",
        workers=0,
    )
    run_classify(settings)
    config = read_config(settings.out)
    assert config["model"]["arguments"]["encoder"]["arguments"]["image_size"] == [8, 8]
    assert config["model"]["arguments"]["encoder"]["arguments"]["drop_path"] == 0.2
    (row,) = read_metrics(settings.out)
    assert {"top1", "top5", "best", "accuracy/0"} <= set(row)
    loaded = load_run(settings.out)
    assert loaded.task == "classify"
    assert loaded.network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    assert "accuracy of 0" in capsys.readouterr().out


def test_a_network_is_what_its_entry_says() -> None:
    torch.manual_seed(0)
    entry, network = build_network("segment", RESNET, HEAD, 5, size=(32, 32))
    assert entry["arguments"]["head"]["arguments"] == {"channels": 64, "classes": 5, **HEAD["arguments"]}
    assert entry["arguments"]["auxiliary"]["arguments"] == {"channels": 32, "classes": 5}
    again = rebuild(entry)
    again.load_state_dict(network.state_dict())
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.eval()(image), network.eval()(image))
    assert network.train().answers(image).auxiliary.shape == (2, 5, 32, 32)
    assert build_network("segment", RESNET, HEAD, 5, size=(32, 32), auxiliary=False)[1].auxiliary is None
    given = {**RESNET, "arguments": {**RESNET["arguments"], "image_channels": 4}}
    assert build_network("segment", given, HEAD, 5, size=(32, 32), image_channels=4)[1].encoder.image_channels == 4


class Plain(torch.nn.Module):
    """An encoder of a user, with one map."""

    channels, stride = 3, 1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def test_an_encoder_of_ones_own_needs_trust_and_no_second_head() -> None:
    own = f"{Plain.__module__}:Plain"
    with pytest.raises(ValueError, match="pass trust=True if you trust it"):
        build_network("segment", own, HEAD, 5, size=(8, 8))
    assert build_network("segment", own, HEAD, 5, size=(8, 8), trust=True)[1].auxiliary is None
    with pytest.raises(ValueError, match=r"has one map alone: leave it out .--auxiliary 0"):
        build_network("segment", own, HEAD, 5, size=(8, 8), auxiliary=True, trust=True)
    with pytest.raises(ValueError, match="has no paths to drop: leave out --drop-path"):
        build_network("segment", own, HEAD, 5, size=(8, 8), drop_path=0.1, trust=True)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("resnet50", "an object is named package.module:object, got 'resnet50'"),
        ("{", "the encoder is no JSON"),
        ('{"name": 3}', "the encoder is named package.module:object, or"),
        ("sightline.models.heads:LinearHead", "cannot be built from its arguments"),
        (json.dumps(VIT), "patches of 4 pixels do not tile an image of 9 x 9"),
    ],
)
def test_encoders_that_cannot_be_are_said(encoder: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_network("segment", encoder, HEAD, 5, size=(9, 9))


def test_other_mistakes_are_said(tmp_path: Path) -> None:
    linear = {"object": "sightline.models.heads:ClassHead", "arguments": {"channels": 1, "classes": 1}}
    with pytest.raises(ValueError, match="no encoder: it has no `channels` and `stride`"):
        build_network("classify", linear, None, 5, size=(8, 8))
    with pytest.raises(ValueError, match="a class head of its own"):
        build_network("classify", CONVNET, HEAD, 5, size=(8, 8))
    with pytest.raises(ValueError, match="needs a head"):
        build_network("segment", CONVNET, None, 5, size=(8, 8))
    with pytest.raises(ValueError, match="is data to segment, and it was asked for to classify"):
        open_data(SHAPES, "train", task="classify")
    with pytest.raises(
        ValueError, match=r"unknown way to weigh classes .--class-weights. 'enett': did you mean 'enet'"
    ):
        run_segment(replace(SETTINGS, out=tmp_path / "a", class_weights="enett"))
    with pytest.raises(ValueError, match="a batch of 13 was asked for, but there are 12 examples"):
        run_segment(replace(SETTINGS, out=tmp_path / "a", batch=13))
    assert not (tmp_path / "a").exists()
    assert entry_of({"object": "a:b"}, "x") == {"object": "a:b", "arguments": {}}


def test_data_is_looked_at_first_and_weighed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from sightline.vision.built_in.shapes import write_folder

    folder, out = tmp_path / "data", tmp_path / "run"
    write_folder(folder, train=4, val=2, size=(16, 16), seed=3)
    settings = replace(SETTINGS, data=str(folder), out=out, check=True, steps=2, batch=2, class_weights="enet")
    mask = folder / "masks" / "train" / "00000.png"
    whole = mask.read_bytes()
    Image.new("L", (16, 16), 9).save(mask)
    with pytest.raises(ValueError, match=rf"1 thing is broken in the data:.*{mask.name} has the value 9 at pixel y=0"):
        run_segment(settings)
    assert not out.exists()
    mask.write_bytes(whole)
    run_segment(settings)
    weights = read_config(out)["recipe"]["arguments"]["losses"]["arguments"]["class_weights"]
    assert len(weights) == 7
    assert min(weight for weight in weights if weight) == weights[0]  # the background is everywhere
    assert weights[1] == 0  # there is no disc
    said = capsys.readouterr().out
    assert f"4 images to segment in {folder}" in said
    run_segment(replace(settings, resume=True))  # a run that goes on does not look again
    assert "images to segment" not in capsys.readouterr().out


def test_published_weights_are_where_the_encoder_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(7)
    published = rebuild(RESNET)
    save_file(published.state_dict(), tmp_path / "resnet.safetensors")
    settings = replace(SETTINGS, encoder=json.dumps(RESNET), weights=tmp_path / "resnet.safetensors", average=None)
    settings = replace(settings, out=tmp_path / "run", steps=1, batch=2, learning_rate=1e-12, val="")
    run_segment(settings)
    encoder = load_run(tmp_path / "run").network.encoder
    for name, parameter in published.named_parameters():
        torch.testing.assert_close(encoder.get_parameter(name), parameter, rtol=0, atol=1e-9)
    assert "torchvision" in capsys.readouterr().out
    (tmp_path / "resnet.safetensors").unlink()
    run_segment(replace(settings, resume=True))  # the checkpoint has them


def test_tensorboard_is_told(tmp_path: Path) -> None:
    run_segment(replace(SETTINGS, out=tmp_path / "run", steps=2, batch=2, tensorboard=True))
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_data_without_a_second_part_is_trained_on_all_the_same(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 2, "batch": 2, "out": tmp_path / "run", "val": ""}
    run_segment(replace(SETTINGS, **settings))
    assert [set(row) & {"mean_iou"} for row in read_metrics(tmp_path / "run")] == [set()]
    assert (tmp_path / "run" / "report.html").exists()
