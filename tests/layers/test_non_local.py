"""Non-local blocks: the paper's formulas, published conventions and names, and weights pinned to the output."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.attention import AttentionLayer, look_up
from sightline.layers.non_local import NonLocal
from sightline.ops.patterns import everything

PAIRWISE = ["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
SIZES = {1: (7,), 2: (5, 4), 3: (2, 3, 4)}


def filled(channels: int = 6, *args: Any, **options: Any) -> NonLocal:
    layer = NonLocal(channels, *args, **options)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double().eval()


def make_map(dimensions: int) -> Tensor:
    return torch.randn(2, 6, *SIZES[dimensions], dtype=torch.float64)


def published(layer: NonLocal, x: Tensor) -> Tensor:
    """The block as its published ports spell it out, every pair of positions side by side."""
    state = layer.state_dict()
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[layer.dimensions]
    window = (1, 2, 2) if layer.dimensions == 3 else (2,) * layer.dimensions
    sub = layer.subsample == 2

    def project(name: str, x: Tensor, pooled: bool) -> Tensor:
        name = f"{name}.0" if pooled else name
        weight, bias = state[f"{name}.weight"].flatten(1), state[f"{name}.bias"]
        before = pooled and layer.pool_when == "before"
        y = torch.einsum("oc,bc...->bo...", weight, pool(x, window) if before else x)
        y = y + bias.reshape(-1, *[1] * layer.dimensions)
        return pool(y, window) if pooled and not before else y

    g = project("g", x, sub).flatten(2).transpose(1, 2)  # [b, m, d]
    if layer.pairwise == "gaussian":
        theta, phi = x.flatten(2).transpose(1, 2), (pool(x, window) if sub else x).flatten(2)
    else:
        theta, phi = project("theta", x, False).flatten(2).transpose(1, 2), project("phi", x, sub).flatten(2)
    if layer.pairwise == "concatenation":
        n, m = theta.shape[1], phi.shape[2]
        pairs = torch.cat([theta.transpose(1, 2)[..., None].repeat(1, 1, 1, m), phi[:, :, None].repeat(1, 1, n, 1)], 1)
        f = F.conv2d(pairs, state["concat_project.0.weight"]).relu()[:, 0] / m
    elif layer.pairwise == "dot_product":
        f = theta @ phi / phi.shape[2]
    else:
        f = (layer.scale * (theta @ phi)).softmax(-1)
    y = (f @ g).transpose(1, 2).unflatten(2, x.shape[2:])
    last = layer.W[0] if isinstance(layer.W, nn.Sequential) else layer.W
    z = torch.einsum("oc,bc...->bo...", last.weight.flatten(1), y) + last.bias.reshape(-1, *[1] * layer.dimensions)
    if isinstance(layer.W, nn.Sequential):
        norm = layer.W[1]
        shape = (-1, *[1] * layer.dimensions)
        z = norm.weight.reshape(shape) * z / (1 + norm.eps) ** 0.5 + norm.bias.reshape(shape)
    return z + x


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(("subsample", "pool"), [(1, "after"), (2, "after"), (2, "before")])
def test_the_block_is_the_published_one(pairwise: str, dimensions: int, subsample: int, pool: str) -> None:
    layer = filled(6, pairwise, dimensions, subsample=subsample, pool=pool)
    x = make_map(dimensions)
    torch.testing.assert_close(layer(x), published(layer, x))


def test_both_conventions_of_scale_and_norm() -> None:
    x = make_map(2)
    for pairwise, width in (("embedded_gaussian", 3), ("gaussian", 6)):
        layer = filled(6, pairwise, scale="inverse_sqrt", norm="none")
        assert layer.scale == pytest.approx(width**-0.5)
        torch.testing.assert_close(layer(x), published(layer, x))
        assert filled(6, pairwise).scale == 1.0


def test_pooling_before_and_after_are_different_functions() -> None:
    after, before = (filled(subsample=2, pool=pool) for pool in ("after", "before"))
    before.load_state_dict(after.state_dict())
    x = make_map(2)
    assert (after(x) - before(x)).abs().max() > 1e-3


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_a_new_block_returns_its_input_and_still_learns(pairwise: str, norm: str) -> None:
    x = torch.randn(2, 6, 5, 4)
    layer = NonLocal(6, pairwise, norm=norm)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    final = layer.W[1] if norm == "batch" else layer.W
    assert final.weight.grad.abs().sum() > 0
    assert not torch.equal(NonLocal(6, pairwise, norm=norm, zero_initialised=False)(x), x)


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("subsample", [1, 2])
def test_names_are_the_published_ones(pairwise: str, subsample: int) -> None:
    dot = ".0" if subsample == 2 else ""
    expected = {f"{name}.{kind}" for name in (f"g{dot}", "W.0") for kind in ("weight", "bias")}
    expected |= {f"W.1.{kind}" for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    if pairwise != "gaussian":
        expected |= {f"{name}.{kind}" for name in ("theta", f"phi{dot}") for kind in ("weight", "bias")}
    if pairwise == "concatenation":
        expected |= {"concat_project.0.weight"}
    state = NonLocal(6, pairwise, 3, subsample=subsample).state_dict()
    assert set(state) == expected
    assert state[f"g{dot}.weight"].shape == (3, 6, 1, 1, 1)
    if pairwise == "concatenation":
        assert state["concat_project.0.weight"].shape == (1, 6, 1, 1)
    without = set(NonLocal(6, pairwise, norm="none", subsample=subsample).state_dict())
    assert {"W.weight", "W.bias"} < without


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("subsample", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_those_of_forward(pairwise: str, dimensions: int, subsample: int, masked: bool) -> None:
    layer, x = filled(6, pairwise, dimensions, subsample=subsample), make_map(dimensions)
    mask = None
    if masked:
        mask = torch.rand(2, *SIZES[dimensions]) > 0.2
        mask[1] = False
    attended, value, out = layer.attend(x, mask), layer.value(x), layer(x, mask)
    for query in (tuple(0 for _ in SIZES[dimensions]), tuple(s - 1 for s in SIZES[dimensions])):
        weights = layer.weights(x, query, mask=mask)
        assert weights.shape == (2, *value.shape[2:])
        taken = look_up(weights, value)
        torch.testing.assert_close(taken, attended[(..., *query)])
        made = layer.W(taken.reshape(2, -1, *[1] * dimensions)).flatten(1)
        torch.testing.assert_close(made + x[(..., *query)], out[(..., *query)])


def test_a_hidden_position_changes_nothing() -> None:
    for subsample in (1, 2):
        layer, x = filled(subsample=subsample), make_map(2)
        mask = torch.ones(2, 5, 4, dtype=torch.bool)
        mask[:, 1, 2] = False
        changed = x.clone()
        changed[:, :, 1, 2] += 3.0
        kept = mask[0]
        torch.testing.assert_close(layer(x, mask)[:, :, kept], layer(changed, mask)[:, :, kept])
        assert (layer(x) - layer(changed))[:, :, kept].abs().max() > 1e-6


def test_it_is_an_attention_layer() -> None:
    layer = NonLocal(6, inner=2)
    assert isinstance(layer, AttentionLayer)
    assert layer.pattern is everything
    assert layer.attend(torch.zeros(1, 6, 2, 2)).shape == (1, 2, 2, 2)
    assert NonLocal(1).inner == 1


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("b", [1, 2])
def test_channels_last_is_kept(pairwise: str, b: int) -> None:
    x = torch.randn(b, 6, 3, 4).to(memory_format=torch.channels_last)
    assert NonLocal(6, pairwise)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_half_precision_and_autocast(pairwise: str) -> None:
    layer, x = filled(6, pairwise).float(), make_map(2).float()
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), exact, atol=0.3, rtol=0.1)
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="unknown pairwise function 'gausian': did you mean 'gaussian'"):
        NonLocal(6, "gausian")
    with pytest.raises(ValueError, match="unknown pooling order 'befor': did you mean 'before'"):
        NonLocal(6, pool="befor")
    with pytest.raises(ValueError, match="1, 2 or 3 dimensions, got 4"):
        NonLocal(6, dimensions=4)
    with pytest.raises(ValueError, match="pooling factor of at least 1, got 0"):
        NonLocal(6, subsample=0)
    with pytest.raises(ValueError, match="under a softmax only: leave it at 'none' for 'dot_product'"):
        NonLocal(6, "dot_product", scale="inverse_sqrt")
    layer = NonLocal(6, subsample=2)
    with pytest.raises(ValueError, match=r"NonLocal takes a map \[b, c, h, w\], got a tensor of shape \(1, 6, 4\)"):
        layer(torch.zeros(1, 6, 4))
    with pytest.raises(ValueError, match="built for 6 channels, got 5"):
        layer(torch.zeros(1, 5, 4, 4))
    with pytest.raises(ValueError, match=r"by 2 leaves no key on a map of size \(1, 4\)"):
        layer(torch.zeros(1, 6, 1, 4))
    with pytest.raises(ValueError, match=r"one entry for every position, \(1, 4, 4\), got torch.bool \(1, 2, 2\)"):
        layer(torch.zeros(1, 6, 4, 4), torch.ones(1, 2, 2, dtype=torch.bool))
    for each in (layer, NonLocal(6)):
        for call in (each, lambda x, mask, each=each: each.weights(x, (0, 0), mask=mask)):
            with pytest.raises(
                ValueError, match=r"got torch.bool \(1, 5, 4\): True marks"
            ):  # as many, otherwise laid out
                call(torch.zeros(1, 6, 4, 5), mask=torch.ones(1, 5, 4, dtype=torch.bool))
            with pytest.raises(ValueError, match=r"must be bool.* got torch.float32 \(1, 4, 5\): True marks"):
                call(torch.zeros(1, 6, 4, 5), mask=torch.ones(1, 4, 5))
    with pytest.raises(ValueError, match=r"at least 1 channel, got inner=0"):
        NonLocal(6, inner=0)
    with pytest.raises(ValueError, match=r"\(4, 0\) does not lie on a map of size \(4, 4\)"):
        layer.weights(torch.zeros(1, 6, 4, 4), (4, 0))


@pytest.mark.compile
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_it_compiles_whole_with_changing_sizes(pairwise: str) -> None:
    layer = filled(6, pairwise)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in [(3, 5), (4, 7)]:
        x = torch.randn(2, 6, *size, dtype=torch.float64)
        torch.testing.assert_close(compiled(x), layer(x))
