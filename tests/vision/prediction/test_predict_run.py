"""From a real run folder: what is predicted, and the report, are those of the network that lies there."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.models.ccnet import CrissCrossHead
from sightline.models.convnet import ConvNet
from sightline.models.heads import Classifier
from sightline.models.segmenter import Segmenter
from sightline.models.vit import Size, VisionTransformer
from sightline.run import describe, open_run, save_checkpoint
from sightline.vision.augmentation.augment import IMAGENET_MEAN, IMAGENET_STD, normalise
from sightline.vision.prediction.predict_files import Predict, run
from sightline.vision.prediction.runs import load_run
from sightline.vision.report.page import write_report

CLASSES = ("sky", "sea", "land")


def write_run(folder, task: str):
    """A run whose network has random weights."""
    if task == "segment":
        encoder = describe(ConvNet, width=8, stride=2)
        head = describe(CrissCrossHead, channels=8, classes=3, inner=8, norm="none")
        model = describe(Segmenter, encoder=encoder, head=head)
        network = Segmenter(ConvNet(width=8, stride=2), CrissCrossHead(8, 3, inner=8, norm="none"))
    else:
        options = {"size": Size(8, 2, 2), "image_size": (16, 20), "patch": 4}
        model = describe(Classifier, encoder=describe(VisionTransformer, **options), classes=3)
        network = Classifier(VisionTransformer(**options), 3)
    rest = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "size": (16, 20), "ignore": 255}
    open_run(folder, {"model": model, "task": task, "classes": CLASSES, **rest})
    save_checkpoint(folder, network, step=1)
    return folder


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png", torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_files_hold_what_the_loaded_network_says(tmp_path, photo, task):
    folder = write_run(tmp_path / "run", task)
    run(Predict(folder, (photo[0],)))
    logits = load_run(folder).network(normalise(photo[1], IMAGENET_MEAN, IMAGENET_STD)[None]).detach()
    row = json.loads((folder / "predictions" / "predictions.json").read_text())["images"][0]
    if task == "segment":
        mask = np.asarray(Image.open(io.BytesIO((folder / "predictions" / row["mask"]).read_bytes())))
        assert np.array_equal(mask, logits[0].argmax(0).numpy())
        assert row["why"]["shown"] == "where the head's attention looks from there"
    else:
        expected = logits[0].softmax(0)
        assert row["top"] == pytest.approx({name: float(expected[i]) for i, name in enumerate(CLASSES)}, abs=1e-5)
        assert row["why"]["shown"] == "where the class token looks in the last block"
    assert "There is no score yet." in write_report(folder).read_text()


def test_what_is_no_run_is_one_sentence(tmp_path, photo):
    with pytest.raises(FileNotFoundError, match=r"is no run folder: it has no config\.json"):
        run(Predict(tmp_path, (photo[0],)))
    (tmp_path / "config.json").write_text('{"steps": 3}')
    with pytest.raises(ValueError, match="is no run of sightline train"):
        run(Predict(tmp_path, (photo[0],)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there is no image in"):
        run(Predict(write_run(tmp_path / "run", "segment"), (tmp_path / "empty",)))
