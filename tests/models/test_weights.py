"""Files in and out of order: what is read and unwrapped, what the report says, and that a refusal changes nothing."""

import argparse
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.models.vit import Size, VisionTransformer
from sightline.models.weight_files import read_tensors
from sightline.models.weights import Report, describe_published, load_published

SMALL = Size(16, 2, 2)


def small(**options: Any) -> VisionTransformer:
    return VisionTransformer(SMALL, **{"image_size": (16, 16), "patch": 8, "classes": 3, **options}).eval()


def timm_names(network: nn.Module) -> dict[str, Tensor]:
    """Random tensors under the network's own names, which are timm's (`test_names_are_those_of_timm`)."""
    return {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}


class Evil:
    """Code in a file: unpickled as an ordinary pickle it would write a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return (open, (str(self.victim), "w"))


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    network = small()
    state = timm_names(network)
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save(state, tmp_path / "c.pt", _use_new_zipfile_serialization=False)  # as before PyTorch 1.6
    torch.save({"model": state, "args": argparse.Namespace(lr=0.1), "epoch": 3}, tmp_path / "d.pth")
    (tmp_path / "hub").mkdir()
    torch.save(state, tmp_path / "hub" / "pytorch_model.bin")
    for name in ("a.safetensors", "b.pth", "c.pt", "d.pth", "hub"):
        other = small()
        report = load_published(other, tmp_path / name)
        assert set(report.matched) == set(state)
        assert all(torch.equal(t, state[key]) for key, t in other.state_dict().items())
    read = read_tensors(str(tmp_path / "d.pth"))
    assert read.nest == ("model",)
    assert read.notes == ("'model' of the file was read, args, epoch beside it not",)


def test_what_lies_around_the_tensors_is_taken_off_and_said() -> None:
    network = small()
    state = timm_names(network)
    wrapped = {"optimizer": {"lr": 1}, "state_dict": OrderedDict((f"module.model.{k}", t) for k, t in state.items())}
    report = load_published(network, wrapped)
    assert report.notes[:3] == (
        "'state_dict' of the file was read, optimizer beside it not",
        "every name began with 'module.', which was taken off",
        "every name began with 'model.', which was taken off",
    )
    both = read_tensors({"model": state, "model_ema": state})
    assert both.notes == ("'model' of the file was read, model_ema beside it not",)
    assert read_tensors({"model_ema": {**state, "decay": 0.9}}).notes == ("decay are no tensors and were passed over",)
    assert read_tensors(state).notes == ()


def test_a_file_with_code_is_never_run(tmp_path: Path) -> None:
    victim, network = tmp_path / "victim", small()
    torch.save({"model": timm_names(network), "extra": Evil(victim)}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth holds more than tensors, (io|_io|builtins)\.open, and code in a"):
        load_published(network, tmp_path / "evil.pth")
    assert not victim.exists()
    torch.save(network, tmp_path / "whole.pth")
    with pytest.raises(
        ValueError, match=r"whole\.pth holds more than tensors, .*VisionTransformer, .* save its tensors"
    ):
        load_published(network, tmp_path / "whole.pth")


def test_what_is_no_file_of_weights_is_said(tmp_path: Path) -> None:
    network = small()
    state = timm_names(network)
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    (tmp_path / "list.txt").write_text("hello, this is no file of weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("a.safetensors", "b.pth"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(whole[: len(whole) // 2])
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("cut_a.safetensors", "cut_b.pth", "list.txt", "empty.pth"):
        with pytest.raises(ValueError, match=rf"{name} is truncated or no") as caught:
            load_published(network, tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"list\.pth holds a list, not tensors by name: save its state dict"):
        load_published(network, tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.pth: give the path"):
        load_published(network, tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match=r"there is no model\.safetensors and no pytorch_model\.bin in"):
        load_published(network, tmp_path)
    with pytest.raises(ValueError, match="the state dict holds no tensors by name, its entries are epoch"):
        load_published(network, {"epoch": 3})


def test_the_report_says_everything() -> None:
    state = timm_names(small()) | {"mask_token": torch.zeros(1, 1, 16)}
    network = Segmenter(small(classes=0, image_size=(24, 16)), nn.Conv2d(16, 2, 1))
    with pytest.raises(
        ValueError, match=r"it has nothing for head\.weight, head\.bias: pass allow_missing=\('head\.\*',"
    ):
        load_published(network, state)
    report = load_published(network, state, allow_missing=("head.*",))
    assert isinstance(report, Report)
    assert set(report.matched) | set(report.converted) == {n for n in network.state_dict() if n.startswith("encoder.")}
    assert report.converted == {"encoder.pos_embed": "2 x 2 resized to 3 x 2, bicubic, antialiased"}
    assert report.left_in_file["head.weight"] == "the network has no such part"
    assert report.left_in_model == ("head.weight", "head.bias")
    said = str(report)
    for words in (
        "layout: timm ViT", f"matched: {len(report.matched)} tensors", "converted: encoder.pos_embed: 2 x 2 resized",
        "left in the file: head.weight, head.bias: the network has no such part", "mask_token: of the pre-training",
        "left in the model: head.weight, head.bias", "note: no weight shows the number of heads: the network has 2",
    ):  # fmt: skip
        assert words in said


def test_a_refusal_changes_nothing() -> None:
    state = timm_names(small())
    broken = {**state, "norm.weight": torch.full((16,), float("nan"))}
    whole_numbers = {**state, "norm.weight": torch.ones(16, dtype=torch.int8)}
    more = {**state, "blocks.2.norm1.weight": torch.ones(16)}
    cases: list[tuple[dict[str, Any], dict[str, Tensor], dict[str, Any], str]] = [
        ({"classes": 7}, state, {}, r"has 3 classes, the network's head\.bias, head\.weight are for 7: pass allow_mis"),
        ({"registers": 2}, state, {}, r"of registers 0 where the network has 2; it has nothing for reg_token: build"),
        (
            {"patch": 4},
            state,
            {},
            r"of patch 8 where the network has 4; its patch_embed\.proj\.weight is \[16, 3, 8, 8\]",
        ),
        ({}, more, {}, r"of blocks 3 where the network has 2; its blocks\.2\.norm1\.weight have no place here"),
        ({}, broken, {}, r"holds numbers in norm\.weight that are not finite: the file is broken"),
        ({}, whole_numbers, {}, r"holds norm\.weight as torch\.int8: quantised weights do not load"),
        ({"norm_eps": 1e-5}, state, {}, r"made for norm_eps=1e-06 and this network has norm_eps=1e-05: build it as"),
        ({}, state, {"layout": "torchvision_vit"}, "asked for as 'torchvision_vit', its names are those of 'timm'"),
        ({}, state, {"layout": "tim"}, "unknown layout 'tim': did you mean 'timm'"),
        ({}, state, {"accept": ("eps",)}, "unknown argument to accept 'eps': did you mean 'norm_eps'"),
        ({}, state, {"prefix": "vit."}, r"no name in the state dict begins with 'vit\.': the first are cls_token"),
        ({}, {"a.b": torch.zeros(2)}, {}, r"has the names of no layout known here, they begin a\.b: it is one of"),
    ]
    for options, file, arguments, sentence in cases:
        network = small(**options)
        before = {name: t.clone() for name, t in network.state_dict().items()}
        with pytest.raises(ValueError, match=sentence) as caught:
            load_published(network, file, **arguments)
        assert "\n" not in str(caught.value)
        assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    with pytest.raises(ValueError, match=r"is for a VisionTransformer, ResNet is none and has none: build one"):
        load_published(ResNet(10, width=4), state)
    with torch.device("meta"):
        unmade = small()
    with pytest.raises(ValueError, match="lies on the meta device and holds no numbers"):
        load_published(unmade, state)


def test_what_is_allowed_keeps_what_it_has() -> None:
    state = timm_names(small()) | {"blocks.2.norm1.weight": torch.ones(16)}
    network = small(classes=7, registers=2)
    kept = {name: t.clone() for name, t in network.state_dict().items()}
    report = load_published(network, state, allow_missing=("head.*", "reg_*"), allow_left=("blocks.2.*",))
    for name in ("head.weight", "head.bias", "reg_token"):
        assert torch.equal(network.state_dict()[name], kept[name])
        assert name in report.left_in_model
    assert report.left_in_file["head.weight"] == "of another shape here"
    assert report.left_in_file["blocks.2.norm1.weight"] == "allowed"
    assert torch.equal(network.state_dict()["norm.weight"], state["norm.weight"])
    # The table's new rows, for registers that the file does not have, add nothing.
    assert not network.state_dict()["pos_embed"][:, 1:3].any()
    assert torch.equal(network.state_dict()["pos_embed"][:, 3:], state["pos_embed"][:, 1:])
    eps = small(norm_eps=1e-5)
    load_published(eps, timm_names(small()), accept=("norm_eps",))
    assert eps.norm.eps == 1e-5


def test_families_that_share_names_are_told_by_asking() -> None:
    state = timm_names(small())
    for layout, rule in {"timm": "bicubic, antialiased", "deit": "bicubic", "dinov2": "bicubic by the factor"}.items():
        network = small(image_size=(24, 24))
        report = load_published(network, state, layout=layout)
        assert report.converted["pos_embed"].startswith(f"2 x 2 resized to 3 x 3, {rule}")


def test_the_networks_own_dtype_stays() -> None:
    state = {name: t.half() for name, t in timm_names(small()).items()}
    network = small().double()
    report = load_published(network, state)
    assert network.norm.weight.dtype == torch.float64
    assert torch.equal(network.norm.weight, state["norm.weight"].double())
    assert "float16 in the file, float64 in the network" in report.notes


def test_a_file_can_be_described_without_a_network(tmp_path: Path) -> None:
    torch.save({"model": timm_names(small(registers=2, layer_scale=1.0))}, tmp_path / "a.pth")
    told = describe_published(tmp_path / "a.pth")
    assert (told.layout, told.kind, told.needs) == ("DeiT", "vit", {"norm_eps": 1e-6})
    assert told.facts == {
        "width": 16, "patch": 8, "image_channels": 3, "blocks": 2, "mlp_ratio": 4.0, "class_token": True,
        "distilled": False, "registers": 2, "layer_scale": True, "pool": "token", "classes": 3,
    }  # fmt: skip
    assert json.dumps(told.facts)
    resnet = describe_published(ResNet(18, width=4, classes=5).state_dict())
    assert (resnet.layout, resnet.facts["blocks"], resnet.facts["classes"]) == ("torchvision ResNet", [2, 2, 2, 2], 5)
