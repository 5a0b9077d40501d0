"""What leaves is the network or nothing is written: every way in which a file could be something else is met."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.positions import RelativeBias2d
from sightline.models import export
from sightline.models.convnet import ConvNet
from sightline.models.export import export_onnx, export_program
from sightline.models.trace import Normalised, Sizes
from sightline.models.vit import Size, VisionTransformer
from sightline.ops.criss_cross import criss_cross_attention
from sightline.ops.non_local import PAIRWISE, non_local_attention

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.compile  # the tracer cannot trace shape checks either
SIZE = (9, 12)


class Attends(nn.Module):
    """One attention operator, with some keys hidden."""

    def __init__(self, pairwise: str, masked: bool) -> None:
        super().__init__()
        self.pairwise, self.masked = pairwise, masked

    def forward(self, image: Tensor) -> Tensor:
        query = image[:, :1] if self.pairwise == "concatenation" else image[:, :2]
        mask = image[:, 2] > 0 if self.masked else None
        if self.pairwise == "criss_cross":
            return criss_cross_attention(query, image[:, :2], image, mask=mask, scale=0.7)
        scale = 1.0 if self.pairwise == "concatenation" else 0.7
        return non_local_attention(query, query + 1, image, pairwise=self.pairwise, mask=mask, scale=scale)


class FixesItsSize(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(2)[:, :, : len(image[0, 0]) * 3].relu()


class OneSize(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        if image.shape[2:] != SIZE:
            raise ValueError("no other size")
        return image


class ChangesWhenItLeaves(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, image: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return image
        here = image[:, :, 2:3, 3:4] * 0 + self.by
        return image + F.pad(here, (3, image.shape[3] - 4, 2, image.shape[2] - 3))


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("pairwise", [*PAIRWISE, "criss_cross"])
def test_attention_leaves_in_pytorchs_own_operators(pairwise: str, masked: bool, tmp_path: Path) -> None:
    file = tmp_path / "network.pt2"
    report = export_program(Attends(pairwise, masked), file, size=SIZE)
    program = torch.export.load(file)
    assert not [node for node in program.graph.nodes if "sightline" in str(node.target)]
    assert report.difference < 1e-6
    image = torch.randn(2, 3, 7, 17)
    torch.testing.assert_close(program.module()(image), Attends(pairwise, masked)(image))


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    network = ConvNet(width=4, dilations=()).train()
    report = export_onnx(network, tmp_path / "new" / "network.onnx", size=(16, 16), metadata={"classes": '["a", "b"]'})
    assert network.training
    assert [p.name for p in report.file.parent.iterdir()] == ["network.onnx"]
    session = onnxruntime.InferenceSession(report.file)
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", ["batch", 3, "height", "width"])
    assert logits.name == "logits"
    assert logits.shape[:2] == ["batch", 4]
    assert "height" in logits.shape[2]
    told = session.get_modelmeta().custom_metadata_map
    assert told == {"classes": '["a", "b"]', "sizes": "from 5 x 5 pixels"}
    assert {b for b, _, _ in report.checked} == {1, 2, 3}
    assert any(h != w and h % 2 and w % 2 == 0 for _, h, w in report.checked)
    assert str(report).startswith(f"{report.file}: images from 5 x 5 pixels, any number; checked at 1 x 5 x 5, ")


def test_a_program_says_what_it_is_and_refuses_what_it_does_not_serve(tmp_path: Path) -> None:
    file = tmp_path / "network.pt2"
    export_program(ConvNet(width=4, dilations=()), file, size=(16, 12), metadata={"task": "segment"})
    extra = {export.EXTRA: ""}
    program = torch.export.load(file, extra_files=extra)
    assert json.loads(extra[export.EXTRA]) == {"task": "segment", "sizes": "from 5 x 5 pixels"}
    with pytest.raises(AssertionError):
        program.module()(torch.zeros(1, 3, 4, 4))


def test_a_table_that_is_too_small_stops_an_onnx_file(tmp_path: Path) -> None:
    network = VisionTransformer(Size(8, 1, 2), image_size=(16, 16), patch=8, position=RelativeBias2d(2, (6, 6)))
    session = onnxruntime.InferenceSession(export_onnx(network, tmp_path / "network.onnx", size=(24, 16)).file)
    assert session.get_modelmeta().custom_metadata_map["sizes"] == "from 16 x 16 to 48 x 48 pixels in steps of 8"
    assert session.run(None, {"image": torch.zeros(1, 3, 48, 48).numpy()})[0].shape == (1, 8, 6, 6)
    for size in ((56, 16), (16, 56)):  # in one row of numbers the rows of a table lie side by side: it would answer
        with pytest.raises(Exception, match="invalid index found"):
            session.run(None, {"image": torch.zeros(1, 3, *size).numpy()})


def test_a_normalised_network_takes_what_a_file_holds(tmp_path: Path) -> None:
    mean, std = (0.5, 0.25, 0.125), (0.5, 0.25, 2.0)
    network = ConvNet(width=4, dilations=())
    report = export_onnx(Normalised(network, mean, std), tmp_path / "network.onnx", size=(16, 12))
    image = torch.randint(0, 256, (1, 3, 20, 24), dtype=torch.uint8)
    (got,) = onnxruntime.InferenceSession(report.file).run(None, {"image": image.numpy()})
    scaled = torch.stack([(image[:, c] / 255.0 - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(torch.from_numpy(got), network.eval()(scaled), rtol=1e-4, atol=1e-5)


def test_a_file_that_answers_otherwise_is_said_and_not_written(tmp_path: Path) -> None:
    file = tmp_path / "network.pt2"
    file.write_text("what was there before")
    with pytest.raises(
        ValueError, match=r"for 1 x 4 x 4 \(images, height, width\) it differs from the network by .*\[0, 0, 2, 3\]"
    ):
        export_program(ChangesWhenItLeaves(0.01), file, size=SIZE)
    assert file.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [file]
    assert export_program(ChangesWhenItLeaves(1e-5), file, size=SIZE).difference > 1e-6
    with pytest.raises(ValueError, match=r"more than 1e-06, at "):
        export_program(ChangesWhenItLeaves(1e-5), file, size=SIZE, tolerance=1e-6)
    with pytest.raises(ValueError, match="differs from the network by nan"):
        export_program(ChangesWhenItLeaves(torch.nan), file, size=SIZE)


def test_what_cannot_leave_is_said_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "network.pt2"
    with pytest.raises(ValueError, match=r"FixesItsSize fixes height to 9 when it is traced: its code must not turn"):
        export_program(FixesItsSize(), file, size=SIZE)
    with pytest.raises(ValueError, match="OneSize serves no size near 9 x 12 but that one: what leaves has to serve"):
        export_program(OneSize(), file, size=SIZE)
    with pytest.raises(ValueError, match="no other size"):
        export_program(OneSize(), file, size=(9, 13))
    with pytest.raises(ValueError, match=r"this one has weights of torch.float64: export network.float\(\)"):
        export_program(ConvNet(width=4).double(), file, size=SIZE)
    with pytest.raises(ValueError, match="answers with a tuple: what leaves answers with one tensor"):
        export_program(nn.MaxPool2d(2, return_indices=True), file, size=SIZE)
    with pytest.raises(ValueError, match=r"traced at 2 x 9 x 12 does not serve 3 x 13 x 9 \(images.* a larger size"):
        export_program(nn.Sequential(nn.MaxPool2d(6), nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(2)), file, size=SIZE)
    with pytest.raises(ValueError, match=r"a program's file ends in .pt2, got network.bin"):
        export_program(nn.ReLU(), tmp_path / "network.bin", size=SIZE)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"network\.pt2 could not be written: "):
        export_program(nn.ReLU(), tmp_path / "file" / "network.pt2", size=SIZE)


def test_without_the_extra_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ValueError, match=r"and onnxscript is not installed: pip install 'sightline\[export\]'"):
        export_onnx(nn.ReLU(), tmp_path / "network.onnx", size=SIZE)


def test_sizes_are_told_in_words() -> None:
    assert str(Sizes(16, (128, None), 8)) == "from 16 x 16 to 128 x any pixels in steps of 8"
    held = Sizes(16, (128, None), 8)
    assert held.hold(16, 24)
    assert not held.hold(8, 24)
    assert not held.hold(136, 24)
    assert not held.hold(16, 20)
