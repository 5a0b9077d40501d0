"""Heads are their formulas, with their names, and say what they cannot do."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.attention import look_up
from sightline.layers.non_local import NonLocal
from sightline.models.convnet import ConvNet
from sightline.models.heads import ClassHead, Classifier, ConvolutionHead, LinearHead
from sightline.models.non_local_head import NonLocalHead
from sightline.models.pyramid_head import PyramidHead, pool_to_cells
from sightline.models.vit import Size, VisionTransformer
from sightline.ops.patterns import everything
from sightline.ops.reference import attention


def filled(network: nn.Module) -> nn.Module:
    """In double precision and evaluation, nothing at its start, norms with statistics of their own."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.3)
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)
    return network.double().eval()


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    mean, var, weight, bias = (t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def layer(x: Tensor, parts: nn.Module, slope: float = 0.0) -> Tensor:
    y = normed(F.conv2d(x, parts[0].weight, padding=1), parts[1])
    return torch.where(y > 0, y, slope * y)


def test_a_class_head_takes_maps_and_summaries() -> None:
    head = ClassHead(6, 3)
    features = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(head(features), head(features.mean((2, 3))))
    torch.testing.assert_close(head(features), features.mean((2, 3)) @ head.linear.weight.T + head.linear.bias)


def test_a_classifier_asks_for_the_summary() -> None:
    image = torch.randn(2, 3, 24, 40)
    convolutions = ConvNet(width=8).eval()
    classifier = Classifier(convolutions, 5)
    assert classifier.classes == 5
    torch.testing.assert_close(classifier(image), classifier.head(convolutions(image).mean((2, 3))))
    vit = VisionTransformer(Size(8, 2, 2), patch=8).eval()
    classifier = Classifier(vit, 5)
    torch.testing.assert_close(classifier(image), classifier.head(vit.summary(image)))  # the class token, not the mean


def test_the_linear_head_is_a_matrix_at_every_position() -> None:
    head = filled(LinearHead(6, 3))
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    expected = torch.einsum("kc,bcyx->bkyx", head.convolution.weight[:, :, 0, 0], x)
    torch.testing.assert_close(head(x), expected + head.convolution.bias[:, None, None])


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.01)])
@pytest.mark.parametrize("bias", [False, True])
def test_the_convolution_head_is_its_formula(activation: str, slope: float, bias: bool) -> None:
    head = filled(ConvolutionHead(8, 3, inner=5, activation=activation, bias=bias))
    parts = dict(head.named_children())
    assert list(parts) == ["0", "1", "2", "3"]
    assert ("0.bias" in head.state_dict()) == bias
    x = torch.randn(2, 8, 4, 5, dtype=torch.float64)
    y = normed(F.conv2d(x, parts["0"].weight, parts["0"].bias, padding=1), parts["1"])
    y = torch.where(y > 0, y, slope * y)
    torch.testing.assert_close(head(x), F.conv2d(y, parts["3"].weight, parts["3"].bias))
    assert ConvolutionHead(8, 3).state_dict()["0.weight"].shape == (2, 8, 3, 3)  # a quarter
    assert ConvolutionHead(3, 3).state_dict()["0.weight"].shape == (1, 3, 3, 3)


def test_dropout_takes_whole_channels_in_training_alone() -> None:
    head = ConvolutionHead(8, 3, inner=64, norm="none", dropout=0.5)
    seen = []
    head.get_submodule("3").register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.randn(1, 8, 6, 6)
    head.train()(x)
    head.eval()(x)
    dropped = (seen[0] == 0).all(3).all(2) & ~(seen[1] == 0).all(3).all(2)
    assert 10 < int(dropped.sum()) < 54
    kept = ~dropped[0]
    torch.testing.assert_close(seen[0][0, kept], 2 * seen[1][0, kept])


def test_the_non_local_head_is_its_formula() -> None:
    head = filled(NonLocalHead(16, 5, inner=8, activation="leaky_relu"))
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)
    block = head.non_local
    y = layer(x, head.conva, 0.01)
    q, k, v = (F.conv2d(y, c.weight, c.bias) for c in (block.theta, block.phi, block.g))
    taken = attention(q, k, v, pattern=everything)
    y = y + normed(F.conv2d(taken, block.W[0].weight, block.W[0].bias), block.W[1])
    torch.testing.assert_close(head.features(x), y)
    y = layer(torch.cat([x, layer(y, head.convb, 0.01)], 1), head.bottleneck, 0.01)
    torch.testing.assert_close(head(x), F.conv2d(y, head.bottleneck[3].weight, head.bottleneck[3].bias))


def test_a_new_non_local_head_begins_as_its_convolutions() -> None:
    head = NonLocalHead(16, 5).eval()
    x = torch.randn(2, 16, 5, 7)
    assert torch.equal(head.features(x), head.conva(x))
    assert isinstance(NonLocalHead(16, 5, norm="group").non_local.W, nn.Conv2d)  # no batch norm hides in the block
    assert isinstance(NonLocalHead(16, 5, norm="none").non_local.W, nn.Conv2d)


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize("subsample", [1, 2])
def test_the_non_local_head_says_where_it_looks(pairwise: str, subsample: int) -> None:
    head = filled(NonLocalHead(16, 5, inner=4, pairwise=pairwise, subsample=subsample))
    assert head.pattern is everything
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    block, entered = head.non_local, head.conva(x)
    assert isinstance(block, NonLocal)
    weights = head.weights(x, (3, 1))
    assert weights.shape == (2, 4 // subsample, 6 // subsample)
    torch.testing.assert_close(look_up(weights, block.value(entered)), block.attend(entered)[:, :, 3, 1])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 4), (6, 12), (13, 11)])
@pytest.mark.parametrize("cells", [1, 2, 3, 6])
def test_means_over_cells_are_pytorchs_pooling(size: tuple[int, int], cells: int) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(pool_to_cells(x, cells), F.adaptive_avg_pool2d(x, cells))


def test_the_pyramid_head_is_its_formula() -> None:
    head = filled(PyramidHead(9, 4, inner=6, bins=(1, 3)))
    x = torch.randn(2, 9, 5, 7, dtype=torch.float64)
    joined = [x]
    for cells, level in zip((1, 3), head.pools, strict=True):
        y = F.relu(normed(F.conv2d(F.adaptive_avg_pool2d(x, cells), level[0].weight), level[1]))
        assert y.shape == (2, 4, cells, cells)  # 9 channels shared by two levels
        joined.append(F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False))
    y = layer(torch.cat(joined, 1), head.bottleneck)
    torch.testing.assert_close(head(x), F.conv2d(y, head.bottleneck[3].weight, head.bottleneck[3].bias))
    with torch.device("meta"):  # PSPNet: 2048 channels and four levels of 512, joined at 512
        published = PyramidHead(2048, 150)
    assert [level[0].weight.shape for level in published.pools] == [(512, 2048, 1, 1)] * 4
    assert published.bottleneck[0].weight.shape == (512, 4096, 3, 3)


def test_bad_input_is_said_in_a_sentence() -> None:
    for bins in ((), (0, 1), (1,) * 5):
        with pytest.raises(ValueError, match="bins are one or more positive numbers, at most as many as channels, got"):
            PyramidHead(4, 3, bins=bins)
    with pytest.raises(ValueError, match=r"cannot train on one image .* give two or more images, or norm='group'"):
        PyramidHead(8, 3)(torch.randn(1, 8, 4, 4))
    PyramidHead(8, 3).eval()(torch.randn(1, 8, 4, 4))
    PyramidHead(36, 3, norm="group")(torch.randn(1, 36, 4, 4))
    with pytest.raises(ValueError, match=r"norm of 2 channels has one in each group, .*: give more than 32 channels"):
        PyramidHead(8, 3, norm="group")
    PyramidHead(8, 3, bins=(2, 3))(torch.randn(1, 8, 4, 4))
    for build in (ConvolutionHead, NonLocalHead, PyramidHead):
        with pytest.raises(ValueError, match="unknown activation 'rellu': did you mean 'relu'"):
            build(8, 3, activation="rellu")
        with pytest.raises(ValueError, match="unknown norm 'abn'"):
            build(8, 3, norm="abn")
