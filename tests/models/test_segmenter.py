"""An encoder, a head and a second one: logits grow to the image, and in training everything comes in one pass."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.models.convnet import ConvNet
from sightline.models.heads import ConvolutionHead, LinearHead
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Answers, Segmenter


@pytest.mark.parametrize("align_corners", [False, True])
def test_logits_grow_to_the_image(align_corners: bool) -> None:
    network = Segmenter(ConvNet(width=8), LinearHead(8, 3), align_corners=align_corners).eval()
    image = torch.randn(2, 3, 21, 30)
    small, out = network.head(network.encoder(image)), network(image)
    assert out.shape == (2, 3, 21, 30)
    torch.testing.assert_close(out, F.interpolate(small, (21, 30), mode="bilinear", align_corners=align_corners))
    corners = torch.allclose(out[:, :, -1, -1], small[:, :, -1, -1])
    assert corners  # both rules keep corners; what lies between them differs
    between = out[:, :, :, 14]
    other = Segmenter(network.encoder, network.head, align_corners=not align_corners).eval()
    assert not torch.allclose(other(image)[:, :, :, 14], between)


def test_one_pass_gives_everything() -> None:
    encoder = ResNet(10, width=4, output_stride=8)
    head = ConvolutionHead(32, 3)
    network = Segmenter(encoder, head, auxiliary=LinearHead(16, 3)).eval()
    passes: list[Tensor] = []
    encoder.conv1.register_forward_hook(lambda module, given, out: passes.append(out))
    image = torch.randn(1, 3, 33, 40)
    answers = network.answers(image)
    assert len(passes) == 1
    assert isinstance(answers, Answers)
    assert answers.features is None  # this head does not say
    torch.testing.assert_close(answers.logits, network(image))
    stage = network.auxiliary(encoder.maps(image)[2])
    torch.testing.assert_close(answers.auxiliary, F.interpolate(stage, (33, 40), mode="bilinear"))
    bare = Segmenter(encoder, nn.Conv2d(32, 2, 1))  # any module is a head
    assert bare.answers(image)[1:] == (None, None)
    assert {name.split(".")[0] for name in network.state_dict()} == {"encoder", "head", "auxiliary"}


def test_a_part_named_features_is_no_promise() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(8, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return -self.features(x)

    network = Segmenter(ConvNet(width=8), Other()).eval()
    image = torch.randn(1, 3, 16, 16)
    answers = network.answers(image)
    torch.testing.assert_close(answers.logits, network(image))
    assert answers.features is None


def test_an_auxiliary_head_needs_an_earlier_stage() -> None:
    class OneMap(nn.Conv2d):
        channels = 8

    network = Segmenter(OneMap(3, 8, 4, 4), LinearHead(8, 3), auxiliary=LinearHead(8, 3))
    with pytest.raises(
        ValueError, match=r"the stage before the last, and this encoder has one map alone: leave it out"
    ):
        network.answers(torch.zeros(1, 3, 16, 16))
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
