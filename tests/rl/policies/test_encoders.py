"""Encoders by name: what they are, that they keep the contract, and how a wrong name is answered."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from sightline.layers.criss_cross import RecurrentCrissCross
from sightline.layers.non_local import NonLocal
from sightline.models.check import check_encoder
from sightline.models.convnet import ConvNet
from sightline.models.vit import VisionTransformer
from sightline.rl.policies.encoders import NAMES, SIDE, TOKENS, Attending, NatureCNN, build_encoder


def image(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


class Outside(nn.Module):
    """An encoder of somebody else's."""

    stride = 1

    def __init__(self, image_channels: int = 3, width: int = 2) -> None:
        super().__init__()
        self.channels = width
        self.layer = nn.Conv2d(image_channels, width, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image)


def nothing(image_channels: int) -> str:
    return f"{image_channels} channels"


@pytest.mark.parametrize("name", ["convolution", "non-local", "criss-cross", "vit"])
@pytest.mark.parametrize("shape", [(10, 14, 3), (2, 28, 36)])
def test_a_short_name_is_an_encoder_by_the_contract(name: str, shape: tuple[int, ...]) -> None:
    channels, sides = (shape[2], shape[:2]) if shape[2] < 5 else (shape[0], shape[1:])
    encoder = build_encoder(name, image(*shape), channels)
    sizes = [sides] if name == "vit" else [sides, (33, 20)]
    check_encoder(encoder, channels, sizes)
    height, width = encoder(torch.rand(1, channels, *sides)).shape[2:]
    assert max(height, width) <= (TOKENS if name == "vit" else SIDE)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in encoder.modules())


def test_the_network_of_mnih_et_al() -> None:
    encoder = build_encoder("nature", image(84, 84, 4), 4)
    assert isinstance(encoder, NatureCNN)
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in convolutions] == [
        (4, 32, 8, 4),
        (32, 64, 4, 2),
        (64, 64, 3, 1),
    ]
    assert encoder(torch.rand(2, 4, 84, 84)).shape == (2, 64, 7, 7)
    assert encoder(torch.rand(2, 4, 36, 37)).shape == (2, 64, 1, 1)
    for layer in convolutions:
        rows = layer.weight.detach().flatten(1)
        torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(len(rows)), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"^nature convolves 36 x 35 pixels to nothing: give 36 or more, or take"):
        encoder(torch.rand(2, 4, 36, 35))
    with pytest.raises(ValueError, match="channels"):
        encoder(torch.rand(2, 3, 84, 84))


def test_names_differ_in_who_can_ask_whom() -> None:
    """The gradient of one position's features, at the image: a convolution's is near, an attention's everywhere."""
    for name, kind, reaches in [
        ("convolution", ConvNet, False),
        ("non-local", NonLocal, True),
        ("criss-cross", RecurrentCrissCross, True),
    ]:
        encoder = build_encoder(name, image(12, 12, 1), 1)
        assert any(isinstance(m, kind) for m in encoder.modules())
        x = torch.rand(1, 1, 12, 12, requires_grad=True)
        encoder(x)[0, :, 0, 0].square().sum().backward()
        assert x.grad is not None
        assert bool(x.grad[0, 0, 8:, 8:].abs().gt(0).any()) == reaches
    vit = build_encoder("vit", image(84, 84, 3), 3)
    assert isinstance(vit, VisionTransformer)
    assert vit.stride == 6, "the smallest patch with 256 tokens or fewer"


def test_coordinates_join_before_the_attention() -> None:
    encoder = Attending(1, 8)
    out = encoder(torch.zeros(1, 1, 6, 6))
    assert not torch.allclose(out[..., 0, 0], out[..., 3, 4]), "an even image is not even to it"


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    encoder = build_encoder(name, image(36, 36, 3), 3)
    x = torch.rand(4, 3, 36, 36)
    encoder(x).square().sum().backward()
    if name == "vit":
        assert isinstance(encoder, VisionTransformer)
        encoder.summary(x).square().sum().backward()  # has a norm of its own
    for key, p in encoder.named_parameters():
        assert p.grad is not None, key
        assert p.grad.abs().sum() > 0 or "key.bias" in key or "positions" in key, key


def test_an_encoder_may_be_anybodys() -> None:
    name = f"{__name__}:Outside"
    found = build_encoder(name, image(6, 6, 2), 2, trust=True)
    assert type(found).__name__ == "Outside"
    check_encoder(found, 2)
    text = json.dumps({"object": name, "arguments": {"image_channels": 2, "width": 5}})
    assert build_encoder(text, image(6, 6, 2), 2, trust=True).channels == 5
    ours = json.dumps({"object": "sightline.models.convnet:ConvNet", "arguments": {"image_channels": 2, "width": 8}})
    assert isinstance(build_encoder(f"  {ours}", image(6, 6, 2), 2), ConvNet)
    assert isinstance(build_encoder("sightline.models.convnet:ConvNet", image(6, 6, 2), 2), ConvNet)


@pytest.mark.parametrize(
    ("asked", "trust", "says"),
    [
        ("convolutoin", False, r"^unknown encoder 'convolutoin': did you mean 'convolution'\?.*nature"),
        ("{convolution", False, r"^the encoder \{convolution is no JSON \(.*\): name it, or correct it$"),
        ('{"a": 1}', False, r"^the encoder \{\"a\": 1\} is a dict and no network$"),
        (f"{__name__}:Outside", False, r"lies outside sightline and importing it runs its code: pass trust=True"),
        (
            json.dumps({"object": f"{__name__}:Outside", "arguments": {}}),
            False,
            r"lies outside sightline and importing it runs its code",
        ),
        (f"{__name__}:nothing", True, r"nothing is a str and no network$"),
        (f"{__name__}:Missing", True, r"^there is no '.*:Missing'"),
        (
            "sightline.models.vit:Size",
            False,
            r"^the encoder sightline.models.vit:Size cannot be built from image_channels=2 alone \(.*\): give its arg",
        ),
        (
            '{"object": "sightline.models.convnet:ConvNet", "arguments": {"widht": 1}}',
            False,
            r"ConvNet cannot be built from its arguments",
        ),
    ],
)
def test_what_cannot_be_built(asked: str, trust: bool, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_encoder(asked, image(6, 6, 2), 2, trust=trust)


def test_pixels_that_no_patch_divides() -> None:
    with pytest.raises(ValueError, match=r"^no patch divides 83 x 89 pixels into 256 or fewer: resize the image, or"):
        build_encoder("vit", image(83, 89, 3), 3)
    with pytest.raises(ValueError, match=r"^unknown attention 'both'"):
        Attending(attention="both")


def test_stacked_images_are_measured_by_their_sides() -> None:
    stacked: Any = image(4, 40, 24, 3)
    encoder = build_encoder("convolution", stacked, 12)
    assert encoder.stride == 4
    assert encoder(torch.rand(1, 12, 40, 24)).shape[2:] == (10, 6)
