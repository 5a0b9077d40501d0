"""VGG: torchvision's layout and names, every stage before its pooling, and its published classifier."""

import pytest
import torch
import torch.nn.functional as F

from sightline.models.check import check_encoder
from sightline.models.vgg import VGG

PLACES = {  # of the convolutions among torchvision's `features`
    (11, "none"): (0, 3, 6, 8, 11, 13, 16, 18),
    (11, "batch"): (0, 4, 8, 11, 15, 18, 22, 25),
    (13, "none"): (0, 2, 5, 7, 10, 12, 15, 17, 20, 22),
    (16, "none"): (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    (16, "batch"): (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40),
    (19, "none"): (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
WIDTHS = {11: 8, 13: 10, 16: 13, 19: 16}


@pytest.mark.parametrize(("depth", "norm"), PLACES)
def test_names_are_torchvisions(depth: int, norm: str) -> None:
    with torch.device("meta"):
        network = VGG(depth, norm=norm, classes=7)
    places = PLACES[depth, norm]
    expected = {f"features.{n}.{kind}" for n in places for kind in ("weight", "bias")}
    if norm == "batch":
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        expected |= {f"features.{n + 1}.{kind}" for n in places for kind in kinds}
    expected |= {f"classifier.{n}.{kind}" for n in (0, 3, 6) for kind in ("weight", "bias")}
    state = network.state_dict()
    assert set(state) == expected
    assert state["classifier.0.weight"].shape == (4096, 512 * 7 * 7)
    image = torch.zeros(1, 3, 224, 224, device="meta")
    assert [tuple(m.shape[1:]) for m in network.maps(image)] == [
        (64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14),
    ]  # fmt: skip
    assert network(image).shape == (1, 512, 14, 14)
    assert network.classify(image).shape == (1, 7)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_it_is_convolutions_and_poolings(norm: str) -> None:
    network = VGG(11, width=4, norm=norm, classes=5).double().eval()
    assert network.channels == 32
    image = torch.randn(2, 3, 67, 50, dtype=torch.float64)
    x, maps, place = image, [], 0
    for count in (1, 1, 2, 2, 2):
        for _ in range(count):
            layer = network.features[place]
            x = F.conv2d(x, layer.weight, layer.bias, padding=1)
            if norm == "batch":
                x = x / (1 + 1e-5) ** 0.5  # a new norm: mean 0, variance 1
                place += 1
            x = F.relu(x)
            place += 2
        maps.append(x)
        x, place = F.max_pool2d(x, 2), place + 1
    torch.testing.assert_close(network.maps(image), maps)
    torch.testing.assert_close(network(image), maps[-1])
    y = F.adaptive_avg_pool2d(x, 7).flatten(1)
    for n in (0, 3, 6):
        y = F.linear(y, network.classifier[n].weight, network.classifier[n].bias)
        y = F.relu(y) if n < 6 else y
    torch.testing.assert_close(network.classify(image), y)


@pytest.mark.parametrize(("depth", "norm"), [(11, "none"), (16, "batch")])
def test_it_keeps_the_contract(depth: int, norm: str) -> None:
    check_encoder(VGG(depth, width=2, norm=norm), sizes=[(64, 48), (65, 31), (16, 17)])
    check_encoder(VGG(depth, width=2, norm=norm, image_channels=1), image_channels=1, sizes=[(32, 48)])


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="there is no VGG of depth 12: it is one of 11, 13, 16, 19"):
        VGG(12)
    with pytest.raises(ValueError, match="unknown norm 'group'"):
        VGG(11, norm="group")
    network = VGG(11, width=2, classes=3)
    with pytest.raises(ValueError, match="VGG pools 12 x 80 pixels to nothing: give 16 or more"):
        network(torch.zeros(1, 3, 12, 80))
    with pytest.raises(ValueError, match="VGG pools 80 x 31 pixels to nothing: give 32 or more"):
        network.classify(torch.zeros(1, 3, 80, 31))
    with pytest.raises(ValueError, match="built for images of 3 channels, got 1"):
        network(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="no classifier: build it with classes="):
        VGG(11, width=2).classify(torch.zeros(1, 3, 64, 64))
