"""A picture of why shows what the layers say of themselves, at the right place, and names it."""

import pytest
import torch
from torch import nn

from sightline.models.ccnet import CrissCrossHead
from sightline.models.heads import ClassHead
from sightline.models.non_local_net import NonLocalNet
from sightline.models.resnet import ResNet
from sightline.models.vit import Size, VisionTransformer
from sightline.vision.prediction.why import least_certain, where_it_looks


class Whole(nn.Module):
    """An encoder and a head, grown to the image's size: what any segmenter is."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, image):
        return nn.functional.interpolate(self.head(self.encoder(image)), image.shape[2:])


class Pooled(Whole):
    def forward(self, image):
        return self.head(self.encoder(image))


class Quarter(nn.Conv2d):
    channels, stride_of_map = 8, 4

    def __init__(self) -> None:
        super().__init__(3, 8, 4, 4)


def transformer(**options) -> VisionTransformer:
    return VisionTransformer(Size(8, 2, 2), image_size=(16, 20), patch=4, **options)


def test_one_pass_shows_the_cross_through_the_pixel():
    head = CrissCrossHead(8, 4, inner=8, recurrence=1, norm="none")
    network, image = Whole(Quarter(), head).eval(), torch.randn(1, 3, 24, 32)
    weights, name = where_it_looks(network, image, (13, 22))
    assert "head's attention looks" in name
    assert weights.shape == (24, 32)
    cells = weights.unfold(0, 4, 4).unfold(1, 4, 4).flatten(2)
    assert torch.equal(cells.amin(2), cells.amax(2))  # as coarse as the map
    assert cells[:, :, 0].sum() == pytest.approx(1, abs=1e-5)
    cross = torch.zeros(6, 8, dtype=torch.bool)
    cross[3], cross[:, 5] = True, True
    assert torch.equal(cells[:, :, 0] > 0, cross)


def test_the_heads_own_weights_are_shown():
    head = CrissCrossHead(8, 4, inner=8, recurrence=2, norm="none")
    network, image = Whole(Quarter(), head).eval(), torch.randn(1, 3, 24, 32)
    expected = head.weights(network.encoder(image), (1, 7))[0].detach()
    assert torch.equal(where_it_looks(network, image, (7, 31)).weights[::4, ::4], expected)


def test_patches_show_the_last_block_whatever_the_size():
    encoder = transformer(registers=2)
    network = Whole(encoder, nn.Conv2d(8, 3, 1)).eval()
    image = torch.randn(1, 3, 14, 19)  # filled up to 16 x 20
    weights, name = where_it_looks(network, image, (13, 5))
    expected = encoder.weights(nn.functional.pad(image, (0, 1, 0, 2)), (3, 1))[0].mean(0)[3:].reshape(4, 5).detach()
    assert torch.equal(weights[::4, ::4], expected)
    assert weights.shape == (14, 19)
    assert "last block" in name


def test_a_class_is_asked_through_its_token_or_by_the_gradient():
    network = Pooled(transformer(), ClassHead(8, 3)).eval()
    image = torch.randn(1, 3, 16, 20)
    weights, name = where_it_looks(network, image)
    expected = network.encoder.weights(image, 0)[0].mean(0)[1:].reshape(4, 5).detach()
    assert torch.equal(weights[::4, ::4], expected)
    assert "class token" in name
    tokenless = Pooled(transformer(class_token=False), ClassHead(8, 3)).eval()
    assert "move this answer" in where_it_looks(tokenless, image).name


def test_a_non_local_network_is_asked_on_the_map_of_its_last_block():
    encoder = NonLocalNet(ResNet(18), blocks=[(1, 0), (2, 0)], zero_initialised=False)
    network, image = Whole(encoder, nn.Conv2d(encoder.channels, 3, 1)).eval(), torch.randn(1, 3, 64, 96)
    rows, columns = encoder.maps(image)[2].shape[2:]
    look = where_it_looks(network, image, (63, 50))
    query = (rows - 1, int(50.5 * columns / 96))
    step = 64 // rows
    assert torch.equal(look.weights[::step, ::step], encoder.weights(image, query)[0].detach())
    assert "non-local" in look.name


def test_without_attention_the_gradient_of_the_winner_is_shown():
    network = nn.Conv2d(3, 4, 3, padding=1).eval()
    image = torch.randn(1, 3, 9, 12)
    winner = int(network(image)[0, :, 4, 0].argmax())
    weights, name = where_it_looks(network, image, (4, 0))
    expected = torch.zeros(9, 12)
    expected[3:6, 0:2] = network.weight[winner].abs().sum(0)[:, 1:].detach()
    torch.testing.assert_close(weights, expected)
    assert "move this answer most" in name
    assert not image.requires_grad
    assert network.weight.grad is None


def test_in_a_window_nothing_outside_of_it_counts():
    network, image = nn.Conv2d(3, 4, 9, padding=4).eval(), torch.randn(1, 3, 20, 30)
    weights = where_it_looks(network, image, (2, 29), window=6).weights
    inside = torch.zeros(20, 30, dtype=torch.bool)
    inside[0:6, 24:30] = True
    assert (weights[~inside] == 0).all()
    assert (weights[0:6, 25:30] > 0).all()
    large = where_it_looks(network, image, (2, 29), window=64).weights
    torch.testing.assert_close(large, where_it_looks(network, image, (2, 29)).weights)


def test_a_pixel_outside_is_one_sentence():
    with pytest.raises(ValueError, match="at row 9, column 0, and the image has 9 rows and 12 columns"):
        where_it_looks(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 9, 12), (9, 0))


def test_the_least_certain_pixel_stands_in_an_uncertain_region_not_on_a_border():
    sure = torch.zeros(2, 64, 64)
    sure[0, :, :32], sure[1, :, 32:] = 1, 1
    sure[:, :, 31:33] = 0.5  # every border is uncertain
    sure[:, 40:52, 8:20] = torch.tensor([0.6, 0.4])[:, None, None]
    y, x = least_certain(sure)
    assert 42 <= y < 50
    assert 10 <= x < 18


def test_an_uncertain_corner_counts_as_much_as_a_middle():
    sure = torch.zeros(2, 64, 64)
    sure[0] = 1
    sure[:, 30:34, 30:34] = 0.5
    assert 26 <= least_certain(sure)[0] < 38
    sure[:, :3, :3] = 0.5  # nine of the 25 pixels around the corner; sixteen of 81 in the middle
    assert least_certain(sure) == (0, 0)
