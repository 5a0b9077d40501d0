"""`sightline predict`: what is written is what the network says, and one bad image spoils no other."""

import csv
import errno
import io
import json
import os
import signal

import numpy as np
import pytest
import torch
import tyro
from PIL import Image
from tests.vision.prediction.made_up_run import CLASSES, Brightest, loaded

from sightline.vision.drawing.palette import palette
from sightline.vision.prediction import predict_files
from sightline.vision.prediction.predict_files import Predict, run


def photo(path, size=(20, 16), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def opened(path):
    return Image.open(io.BytesIO(path.read_bytes()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run's folder; `load_run` gives the network of the test."""
    place = tmp_path / "run"
    place.mkdir()
    monkeypatch.setattr(predict_files, "load_run", lambda folder, trust: loaded(folder))
    return place


def test_masks_and_shares_are_what_the_network_says(folder, tmp_path, capsys):
    pixels = {name: photo(tmp_path / "in" / f"{name}.png", (20 + n, 16), n) for n, name in enumerate(("a", "deep/b"))}
    run(Predict(folder, (tmp_path / "in",)))
    out = folder / "predictions"
    listed = json.loads((out / "predictions.json").read_text())
    assert listed["classes"] == list(CLASSES)
    assert [row["image"] for row in listed["images"]] == [
        str(tmp_path / "in" / "a.png"),
        str(tmp_path / "in/deep/b.png"),
    ]
    for row, (name, image) in zip(listed["images"], pixels.items(), strict=True):
        expected = image.astype(int).argmax(2)
        mask = opened(out / row["mask"])
        assert row["mask"] == f"masks/{name}.png"
        assert np.array_equal(np.asarray(mask), expected)
        assert np.array_equal(np.asarray(mask.convert("RGB")), palette(CLASSES)[expected])
        for index, label in enumerate(CLASSES):
            assert row["shares"][label] == pytest.approx((expected == index).mean())
        assert list(row["shares"].values()) == sorted(row["shares"].values(), reverse=True)
        logits = 40 * (image / 255 - 0.5) / 0.25
        share = np.exp(logits - logits.max(2, keepdims=True))
        assert row["confidence"] == pytest.approx((share.max(2) / share.sum(2)).mean(), abs=1e-4)
        assert opened(out / row["overlay"]).size == opened(out / row["why"]["picture"]).size == mask.size
        assert sum(row["why"]["said"].values()) <= 1
        assert "move this answer most" in row["why"]["shown"]
    assert opened(out / "contact-sheet.png").size[0] > 900
    assert capsys.readouterr().out == f"2 of 2 images done: see {out / 'contact-sheet.png'}\n"


def test_the_asked_pixel_is_explained_and_explaining_may_be_left_out(folder, tmp_path):
    pixels = photo(tmp_path / "a.png")
    run(Predict(folder, (tmp_path / "a.png",), why=(3, 17), window=8, flip=True, out=tmp_path / "asked"))
    row = json.loads((tmp_path / "asked" / "predictions.json").read_text())["images"][0]
    assert (row["why"]["row"], row["why"]["column"]) == (3, 17)
    assert next(iter(row["why"]["said"])) == CLASSES[int(pixels[3, 17].argmax())]
    run(Predict(folder, (tmp_path / "a.png",), explain=False, out=tmp_path / "plain"))
    assert "why" not in json.loads((tmp_path / "plain" / "predictions.json").read_text())["images"][0]
    assert not (tmp_path / "plain" / "why").exists()
    with pytest.raises(
        ValueError, match="1 of 1 images failed: asked why at row 16, column 0, and the image has 16 rows"
    ):
        run(Predict(folder, (tmp_path / "a.png",), why=(16, 0), out=tmp_path / "outside"))


def test_one_broken_image_is_named_and_the_others_are_done(folder, tmp_path, capsys):
    for name in "abc":
        photo(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "b.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:200])
    (tmp_path / "in" / "d.png").write_text("no image")
    with pytest.raises(ValueError, match=r"2 of 4 images failed: .*b\.png cannot be read: .*the others are named in"):
        run(Predict(folder, (tmp_path / "in",)))
    listed = json.loads((folder / "predictions" / "predictions.json").read_text())
    assert [row["image"][-5:] for row in listed["images"]] == ["a.png", "c.png"]
    assert [row["image"][-5:] for row in listed["failed"]] == ["b.png", "d.png"]
    assert "2 of 4 images done" in capsys.readouterr().out
    assert (folder / "predictions" / "contact-sheet.png").exists()


def test_a_run_that_classifies_lists_the_likeliest_classes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_files, "load_run", lambda folder, trust: loaded(folder, task="classify"))
    pixels = photo(tmp_path / "a.png")
    run(Predict(folder, (tmp_path / "a.png",)))
    out = folder / "predictions"
    row = json.loads((out / "predictions.json").read_text())["images"][0]
    logits = 40 * (pixels.mean((0, 1)) / 255 - 0.5) / 0.25
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert list(row["top"]) == [CLASSES[index] for index in expected.argsort()[::-1]]
    np.testing.assert_allclose(list(row["top"].values()), np.sort(expected)[::-1], atol=1e-4)
    head, line = csv.reader((out / "predictions.csv").read_text().splitlines())
    assert head[:3] == ["image", "class 1", "probability 1"]
    assert line[0] == str(tmp_path / "a.png")
    assert line[1::2] == list(row["top"])
    assert [float(value) for value in line[2::2]] == list(row["top"].values())
    assert (out / "contact-sheet.png").exists()
    assert not (out / "masks").exists()


@pytest.mark.parametrize("option", [{"window": 8}, {"scales": (1.0, 2.0)}, {"why": (1, 1)}, {"batch": 2}])
def test_options_for_masks_are_refused_by_a_run_that_classifies(folder, tmp_path, monkeypatch, option):
    monkeypatch.setattr(predict_files, "load_run", lambda folder, trust: loaded(folder, task="classify"))
    photo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"--{next(iter(option))} is for runs that segment"):
        run(Predict(folder, (tmp_path / "a.png",), **option))
    assert not (folder / "predictions").exists()


def test_a_run_of_another_task_is_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_files, "load_run", lambda folder, trust: loaded(folder, task="act"))
    with pytest.raises(ValueError, match="unknown task of a run that predicts 'act'"):
        run(Predict(folder, (tmp_path,)))


def test_an_interrupt_keeps_what_was_done_and_says_so(folder, tmp_path, monkeypatch):
    class Interrupted(Brightest):
        def forward(self, image):
            os.kill(os.getpid(), signal.SIGINT)
            return super().forward(image)

    monkeypatch.setattr(predict_files, "load_run", lambda folder, trust: loaded(folder, Interrupted()))
    for name in "abc":
        photo(tmp_path / "in" / f"{name}.png")
    with pytest.raises(KeyboardInterrupt, match="stopped after 1 of 3 images, which are in"):
        run(Predict(folder, (tmp_path / "in",), explain=False))
    assert len(json.loads((folder / "predictions" / "predictions.json").read_text())["images"]) == 1


def test_too_little_memory_is_answered_by_what_would_fit(folder, tmp_path, monkeypatch):
    class Greedy(Brightest):
        def forward(self, image):
            if image.shape[2] * image.shape[3] > 64 * 64:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(image)

    monkeypatch.setattr(predict_files, "load_run", lambda folder, trust: loaded(folder, Greedy()))
    photo(tmp_path / "in" / "large.png", (150, 90))
    photo(tmp_path / "in" / "small.png", (30, 20))
    words = "an image of 90 x 150 pixels does not fit into the memory of cpu in one piece: --window 64 does"
    with pytest.raises(ValueError, match=f"1 of 2 images failed: {words}"):
        run(Predict(folder, (tmp_path / "in",)))
    with pytest.raises(ValueError, match="by windows of 80 pixels: --window 64 does"):
        run(Predict(folder, (tmp_path / "in" / "large.png",), window=80))
    run(Predict(folder, (tmp_path / "in",), window=64))


def test_a_full_disk_stops_at_once(folder, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, f"{path} could not be written: no space left on device")

    monkeypatch.setattr(predict_files, "write_whole", full)
    photo(tmp_path / "a.png")
    with pytest.raises(OSError, match="no space left on device"):
        run(Predict(folder, (tmp_path / "a.png",)))


def test_the_sheet_shows_the_least_certain_first_and_says_how_many_it_leaves_out(folder, tmp_path, monkeypatch):
    shown = {}

    def sheet(title, tiles, **options):
        shown.update(options, title=title, names=[tile.heading for tile in tiles])
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(predict_files, "contact_sheet", sheet)
    monkeypatch.setattr(predict_files, "SHOWN", 2)
    for name, spread in (("sure", 120), ("doubtful", 1), ("middling", 10)):
        pixels = np.full((16, 20, 3), 128, np.uint8)
        pixels[..., 1] += spread
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    run(Predict(folder, (tmp_path / "in",), explain=False))
    assert shown["names"] == ["doubtful", "middling"]
    assert "the 2 least certain of 3 images" in shown["title"]
    assert shown["legend"] == [("green", tuple(palette(CLASSES)[1].tolist()))]  # the one class that occurs


def test_the_words_of_a_command_line(tmp_path):
    words = ["runs/mine", "a.png", "photos", "--flip", "--why", "3", "4", "--scales", "0.5", "1", "--window", "512"]
    found = tyro.cli(Predict, args=words)
    assert (str(found.run), [str(path) for path in found.images]) == ("runs/mine", ["a.png", "photos"])
    assert (found.flip, found.why, found.scales, found.window) == (True, (3, 4), (0.5, 1.0), 512)
