"""The front gives what its three parts give, chooses channels by their largest response, and goes on without a part."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sightline.seeing.deconvnet import deconvnet
from sightline.seeing.features import Features, draw, features, picture, strongest_channels
from sightline.seeing.optimised import optimised_input
from sightline.seeing.top_patches import top_patches


def small() -> nn.Sequential:
    torch.manual_seed(8)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 7, 3, padding=1), nn.ReLU()
    )


def photos(count: int) -> list[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(9)
    return [(f"photo {i}", torch.rand(3, 16, 20, generator=generator)) for i in range(count)]


def test_it_is_its_parts() -> None:
    net, images = small(), photos(4)
    image = images[0][1]
    found = features(net, "4", [5, 2], image=image, images=images, patches=3, steps=8, seed=3)
    assert found.layer == "4"
    assert found.missing == ()
    assert [one.channel for one in found.channels] == [5, 2]
    liked = optimised_input(net, "4", [5, 2], size=(16, 20), position=(4, 5), steps=8, seed=3)
    here = top_patches(net, images[:1], "4", [5, 2], 1)
    many = top_patches(net, images, "4", [5, 2], 3)
    for i, one in enumerate(found.channels):
        assert one.optimised is not None
        assert one.optimised.box == (5, 12, 7, 14)  # 8 x 8 around the unit in the middle
        torch.testing.assert_close(one.optimised.crop, liked[i, :, 5:13, 7:15])
        torch.testing.assert_close(torch.tensor(one.optimised.response), net(liked)[i, one.channel, 4, 5])
        assert one.deconvnet is not None
        torch.testing.assert_close(one.deconvnet, deconvnet(net, image, "4", one.channel))
        assert one.here is not None
        assert one.here.position == here[i].position
        top, bottom, left, right = one.here.box
        beyond = one.deconvnet.clone()
        beyond[:, top : bottom + 1, left : right + 1] = 0
        assert beyond.abs().max() == 0  # the unit sees nothing else
        wanted = [patch for patch in many if patch.channel == one.channel]
        assert [(p.image, p.position, p.response) for p in one.patches] == [
            (p.image, p.position, p.response) for p in wanted
        ]


def test_the_strongest_channels_are_chosen() -> None:
    net, image = small(), photos(1)[0][1]
    largest = net(image[None])[0].amax((1, 2)).tolist()
    wanted = sorted(range(7), key=lambda channel: -largest[channel])
    assert strongest_channels(net, image, "4", 4) == wanted[:4]
    assert [one.channel for one in features(net, "4", image=image, count=2, steps=0).channels] == wanted[:2]


def test_only_what_is_asked_is_made() -> None:
    net, image = small(), photos(1)[0][1]
    without = features(net, "4", image=image, count=1, steps=0).channels[0]
    assert without.optimised is None
    assert without.patches == ()
    assert without.here is not None
    alone = features(net, "4", [0], size=(16, 16), steps=2).channels[0]
    assert alone.optimised is not None
    assert alone.here is None
    assert alone.deconvnet is None
    other = features(net, "4", [0], image=image, size=(12, 12), steps=0).channels[0]
    assert other.deconvnet is not None
    assert other.deconvnet.shape == (3, 12, 12)


class Rounds(nn.Module):
    """Has no gradient, so nothing can be optimised; the patches are still found."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach().round()


def test_a_part_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no image")
    image = photos(1)[0][1]
    found = features(Rounds(), "", [0, 1], image=image, images=[tmp_path / "words.png", ("a", image)], steps=2)
    assert len(found.missing) == 3
    assert found.missing[0].startswith("the optimised inputs of '' could not be made: ")
    assert found.missing[1].startswith("the deconvnets of '' could not be made: ")
    assert found.missing[2].startswith(f"{tmp_path / 'words.png'} is left out")
    for one in found.channels:
        assert one.optimised is None
        assert one.deconvnet is None
        assert len(one.patches) == 9


def test_grey_images_and_vectors() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 3))
    image = torch.rand(1, 16, 16)
    found = features(net, "", image=image, images=[("a", image)], count=3, steps=3)
    assert found.missing == ()
    for one in found.channels:
        assert one.optimised is not None
        assert one.optimised.crop.shape == (1, 15, 15)  # stride 2 leaves one row and one column out
        assert one.patches[0].box == (0, 14, 0, 14)
    assert Image.open(BytesIO(draw(found))).size[0] > 300


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    features(net, "2", image=photos(1)[0][1], images=photos(2), steps=2)
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_the_drawing_holds_every_part() -> None:
    net, images = small(), photos(3)
    whole = features(net, "4", [0, 1], image=images[0][1], images=images, patches=4, steps=2)
    drawn = Image.open(BytesIO(draw(whole)))
    assert drawn.format == "PNG"
    little = features(net, "4", [0], size=(16, 16), steps=2)
    part = Image.open(BytesIO(draw(little)))
    assert part.size[0] < drawn.size[0]
    assert part.size[1] < drawn.size[1]
    assert draw(little) == draw(little)
    assert draw(Features("4", ())).startswith(b"\x89PNG")


def test_pictures_keep_their_colours() -> None:
    pixels = torch.tensor([[[0.0, 1.2]], [[0.5, -0.1]], [[1.0, 0.2]]])
    np.testing.assert_array_equal(picture(pixels), [[[0, 128, 255], [255, 0, 51]]])
    np.testing.assert_array_equal(picture(torch.tensor([[[0.0, 0.4]]])), [[[0, 0, 0], [102, 102, 102]]])


def test_what_does_not_exist_is_said_in_a_sentence() -> None:
    net, image = small(), photos(1)[0][1]
    with pytest.raises(ValueError, match="features were asked without an image: give one, or both channels and a size"):
        features(net, "4", [1])
    with pytest.raises(ValueError, match="the network has no layer '5': the nearest name is "):
        features(net, "5", image=image)
    with pytest.raises(ValueError, match="channel 7 was asked of '4', whose channels go from 0 to 6"):
        features(net, "4", [7], image=image)
