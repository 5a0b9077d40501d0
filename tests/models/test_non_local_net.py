"""Non-local blocks stand where the paper puts them, change nothing at first, and leave trained weights loadable."""

import pytest
import torch

from sightline.layers.attention import look_up
from sightline.models.check import check_encoder
from sightline.models.non_local_net import NonLocalNet, placement
from sightline.models.resnet import ResNet


def test_places_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        resnet, deeper = ResNet(50), ResNet(101)
    assert placement(resnet, 1) == [(2, 4)]  # before the last of res4's six blocks
    assert placement(resnet, 5) == [(1, 1), (1, 3), (2, 1), (2, 3), (2, 5)]
    assert placement(resnet, 10) == [(1, b) for b in range(4)] + [(2, b) for b in range(6)]
    assert placement(deeper, 1) == [(2, 21)]
    for network, count in ((resnet, 3), (deeper, 5)):
        with pytest.raises(ValueError, match=f"1, 5 or 10 non-local blocks into a ResNet-50, asked for {count}"):
            placement(network, count)


def test_a_new_network_is_the_one_that_was_trained() -> None:
    resnet = ResNet(10, width=4).eval()
    network = NonLocalNet(resnet, [(1, 0), (2, 0)], subsample=2).eval()
    image = torch.randn(2, 3, 64, 80)
    torch.testing.assert_close(network(image), resnet(image), atol=0, rtol=0)
    assert {name.split(".")[0] for name in network.state_dict()} == {"resnet", "non_local"}
    network.resnet.load_state_dict(ResNet(10, width=4).state_dict())


def test_blocks_stand_after_their_residual_block() -> None:
    network = NonLocalNet(ResNet(18, width=4), [(1, 0), (2, 1)], zero_initialised=False).eval()
    image = torch.randn(1, 3, 32, 48)
    resnet, blocks = network.resnet, network.non_local
    x = resnet.layer1(resnet.stem(image))
    x = resnet.layer2[1](blocks["layer2_0"](resnet.layer2[0](x)))
    x = blocks["layer3_1"](resnet.layer3(x))
    torch.testing.assert_close(network.maps(image)[2], x)
    torch.testing.assert_close(network(image), resnet.layer4(x))


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
def test_it_keeps_the_contract(pairwise: str) -> None:
    network = NonLocalNet(ResNet(10, width=8, output_stride=8), [(2, 0)], pairwise=pairwise, zero_initialised=False)
    check_encoder(network, sizes=[(32, 48), (33, 17)])


def test_weights_are_those_of_the_block() -> None:
    network = NonLocalNet(ResNet(18, width=4), [(1, 0), (2, 1)], zero_initialised=False).double().eval()
    image = torch.randn(2, 3, 48, 64, dtype=torch.float64)
    entered = {}
    for name, block in network.non_local.items():
        block.register_forward_pre_hook(lambda module, given, name=name: entered.update({name: given[0]}))
    network(image)
    for block, name, query in ((0, "layer2_0", (5, 7)), (-1, "layer3_1", (2, 3))):
        layer = network.non_local[name]
        taken = look_up(network.weights(image, query, block=block), layer.value(entered[name]))
        torch.testing.assert_close(taken, layer.attend(entered[name])[(..., *query)])


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no block 4 in stage 1, counted from 0"):
        NonLocalNet(ResNet(10, width=4), [(1, 4)])
