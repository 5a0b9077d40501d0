"""Hugging Face's transformers as the oracle: the same random weights give the same outputs, at every size.

`save_pretrained` writes the names that the files on the hub have; `state_dict` gives those of version 5 in memory.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

os.environ["HF_HUB_OFFLINE"] = "1"  # before the import, which reads it
transformers = pytest.importorskip("transformers")

from sightline.models.resnet import ResNet  # noqa: E402
from sightline.models.vit import Size, VisionTransformer  # noqa: E402
from sightline.models.weights import describe_published, load_published  # noqa: E402

SETTINGS: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
}  # fmt: skip
SIZES = [(32, 32), (48, 24)]


def filled(model: nn.Module) -> nn.Module:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.3)
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)
    return model.double().eval()


def ours(size: tuple[int, int], **options: Any) -> VisionTransformer:
    built = {"image_size": size, "patch": 8, "norm_eps": 1e-12, **options}
    return VisionTransformer(Size(16, 3, 2), **built).double().eval()


def assert_same(here: Tensor, there: Tensor, tolerance: float = 1e-10) -> None:
    assert there.abs().max() > 0.01  # there is something to compare
    torch.testing.assert_close(here, there, atol=tolerance, rtol=0)


def written(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def image_of(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
def test_vit(size: tuple[int, int], tmp_path: Path) -> None:
    config = transformers.ViTConfig(**SETTINGS, intermediate_size=64, num_labels=5)
    theirs = filled(transformers.ViTForImageClassification(config))
    assert "vit.encoder.layer.2.attention.attention.query.weight" in written(theirs, tmp_path)  # the old names
    assert "vit.layers.2.attention.q_proj.weight" in theirs.state_dict()  # the new ones
    image = image_of(size)
    expected = theirs(image, interpolate_pos_encoding=True).logits
    tokens = theirs.vit(image, interpolate_pos_encoding=True).last_hidden_state
    for file in (tmp_path, tmp_path / "model.safetensors", theirs.state_dict()):
        network = ours(size, classes=5)
        report = load_published(network, file)
        assert report.layout == "Hugging Face ViT"
        assert report.left_in_file == {}
        assert report.left_in_model == ()
        assert report.converted["blocks.1.attn.qkv.weight"] == "query, key and value fused"
        resized = "4 x 4 resized to 6 x 3, bicubic"
        assert report.converted.get("pos_embed", resized) == resized
        assert ("pos_embed" in report.converted) == (size != (32, 32))
        assert_same(network.tokens(image), tokens)
        assert_same(network.classify(image), expected)


def test_vit_in_single_precision_and_at_a_size_met_later(tmp_path: Path) -> None:
    theirs = filled(transformers.ViTModel(transformers.ViTConfig(**SETTINGS, intermediate_size=64))).float()
    written(theirs, tmp_path)
    network = ours((32, 32), table_resize="bicubic").float()
    report = load_published(network, tmp_path)
    assert set(report.left_in_file) == {"pooler.dense.weight", "pooler.dense.bias"}
    for size in SIZES:
        image = image_of(size).float()
        there = theirs(image, interpolate_pos_encoding=True).last_hidden_state
        assert_same(network.tokens(image), there, 1e-5)
    plain = ours((32, 32))
    notes = load_published(plain, tmp_path).notes
    assert any("resizes its table by 'antialias', the file's own code is bicubic" in note for note in notes)


@pytest.mark.parametrize("size", SIZES)
def test_distilled_deit(size: tuple[int, int], tmp_path: Path) -> None:
    config = transformers.DeiTConfig(**SETTINGS, intermediate_size=64, num_labels=5)
    theirs = filled(transformers.DeiTForImageClassificationWithTeacher(config))
    assert "distillation_classifier.weight" in written(theirs, tmp_path)
    image = image_of(size)
    expected = theirs(image, interpolate_pos_encoding=True)
    for file in (tmp_path, theirs.state_dict()):
        network = ours(size, classes=5, distilled=True)
        assert load_published(network, file).layout == "Hugging Face DeiT"
        assert_same(network.classify(image), expected.logits)
        by_class, by_distillation = network.classify_both(image)
        assert_same(by_class, expected.cls_logits)
        assert_same(by_distillation, expected.distillation_logits)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("registers", [0, 3])
def test_dinov2(registers: int, size: tuple[int, int], tmp_path: Path) -> None:
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**SETTINGS, num_register_tokens=registers)
        theirs = filled(transformers.Dinov2WithRegistersModel(config))
    else:
        theirs = filled(transformers.Dinov2Model(transformers.Dinov2Config(**SETTINGS)))
    assert "encoder.layer.0.layer_scale1.lambda1" in written(theirs, tmp_path)
    image = image_of(size)
    tokens = theirs(image).last_hidden_state
    options = {"registers": registers, "layer_scale": 1.0, "norm_eps": 1e-6}
    # A table with rows for every prefix token, for the class alone, for none: what enters is the same.
    for prefix in ("all", "class", "none"):
        for file in (tmp_path, theirs.state_dict()):
            network = ours(size, table_prefix=prefix, **options)
            report = load_published(network, file)
            assert report.layout == f"Hugging Face DINOv2{' with registers' if registers else ''}"
            assert report.left_in_file == {"embeddings.mask_token": "of the pre-training"}
            assert report.left_in_model == ()
            # They resize in single precision whatever the network's.
            assert_same(network.tokens(image), tokens, 1e-10 if size == (32, 32) else 1e-5)
        assert ("cls_token" in report.converted) == (prefix == "none")
        assert ("zeros" in report.converted.get("pos_embed", "")) == (prefix == "all" and registers > 0)


def test_the_encoder_of_mae(tmp_path: Path) -> None:
    decoder = {
        "decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
    }  # fmt: skip
    config = transformers.ViTMAEConfig(**SETTINGS, intermediate_size=64, mask_ratio=0.0, **decoder)
    theirs = filled(transformers.ViTMAEForPreTraining(config))
    written(theirs, tmp_path)
    for size in SIZES:
        image, places = image_of(size), size[0] * size[1] // 64
        order = torch.arange(places, dtype=torch.float64).expand(2, -1)  # noise that is sorted already: no shuffling
        tokens = theirs.vit(image, noise=order, interpolate_pos_encoding=True).last_hidden_state
        for file in (tmp_path, theirs.state_dict()):
            network = ours(size)
            report = load_published(network, file)
            assert set(report.left_in_file.values()) == {"of the pre-training"}
            assert all(name.startswith("decoder.") for name in report.left_in_file)
            assert_same(network.tokens(image), tokens)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_resnet(kind: str, tmp_path: Path) -> None:
    wide = 4 if kind == "bottleneck" else 1
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8 * wide, 16 * wide, 32 * wide, 64 * wide], layer_type=kind, num_labels=5,
        depths=[3, 4, 6, 3] if wide > 1 else [2, 2, 2, 2],
    )  # fmt: skip
    theirs = filled(transformers.ResNetForImageClassification(config))
    written(theirs, tmp_path)
    network = ResNet(50 if wide > 1 else 18, width=8, classes=5).double().eval()
    report = load_published(network, tmp_path)
    assert report.layout == "Hugging Face ResNet"
    assert report.converted == report.left_in_file == {}
    image = image_of((64, 97))
    there = theirs(image).logits
    torch.testing.assert_close(network.classify(image), there, atol=1e-10, rtol=1e-10)


def test_settings_beside_the_file_are_held_against_the_network(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**{**SETTINGS, "image_size": (16, 40)}, intermediate_size=64)
    theirs = filled(transformers.ViTModel(config))
    state = written(theirs, tmp_path)
    with pytest.raises(ValueError, match=r"was made for norm_eps=1e-12 and this network has norm_eps=1e-06: build it"):
        load_published(ours((16, 40), norm_eps=1e-6), tmp_path)
    many = VisionTransformer(Size(16, 3, 4), image_size=(16, 40), patch=8, norm_eps=1e-12)
    with pytest.raises(ValueError, match=r"was made for heads=2 and this network has heads=4"):
        load_published(many, tmp_path)
    load_published(many, tmp_path, accept=("heads",))
    network = ours((16, 40))  # the grid, 2 x 5, stands in config.json alone
    load_published(network, tmp_path)
    image = image_of((16, 40))
    assert_same(network.tokens(image), theirs(image).last_hidden_state)
    with pytest.raises(ValueError, match=r"grid of the file's table of positions cannot be told: 11 rows"):
        load_published(network, state)
    report = load_published(network, state, grid=(2, 5))
    assert any("no weight shows the number of heads: the network has 2" in note for note in report.notes)
    assert describe_published(state).facts["blocks"] == 3
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "hidden_act": "quick_gelu"}))
    with pytest.raises(ValueError, match="says hidden_act 'quick_gelu', VisionTransformer has the exact 'gelu'"):
        load_published(network, tmp_path)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    gated = transformers.Dinov2Model(transformers.Dinov2Config(**SETTINGS, use_swiglu_ffn=True))
    for file in (written(gated, tmp_path), gated.state_dict()):
        with pytest.raises(ValueError, match=r"MLPs are gated \(SwiGLU.*take a smaller network"):
            load_published(ours((32, 32)), file)
    config = transformers.Dinov2Config(**SETTINGS, num_labels=5)
    both = transformers.Dinov2ForImageClassification(config).state_dict()
    network = ours((32, 32), layer_scale=1.0, norm_eps=1e-6, classes=5)
    with pytest.raises(ValueError, match=r"has no such classifier, .* pass allow_missing=\('head\.\*',\)"):
        load_published(network, both)
    report = load_published(network, both, allow_missing=("head.*",))
    assert "side by side" in report.left_in_file["classifier.weight"]
    single = transformers.DeiTForImageClassification(transformers.DeiTConfig(**SETTINGS, intermediate_size=64))
    with pytest.raises(
        ValueError, match=r"no such classifier, the network's head_dist.weight, head_dist.bias are for 2"
    ):
        load_published(ours((32, 32), distilled=True, classes=2), single.state_dict())
    state = {k: v for k, v in single.state_dict().items() if "layers.1.attention.k_proj" not in k}
    with pytest.raises(ValueError, match=r"has deit\.layers\.1\.attention\.q_proj\.weight, .* alone of queries"):
        load_published(ours((32, 32), distilled=True), state)


def test_queries_without_bias_get_zeros(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**SETTINGS, intermediate_size=64, qkv_bias=False)
    theirs = filled(transformers.ViTModel(config))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    network = ours((32, 32))
    report = load_published(network, tmp_path / "weights.safetensors")
    assert report.converted["blocks.0.attn.qkv.bias"] == "zeros: the file has no bias there"
    image = image_of((32, 32))
    assert_same(network.tokens(image), theirs(image).last_hidden_state)
