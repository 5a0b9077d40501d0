"""The Vision Transformer: PyTorch's own encoder layers give the same numbers, names are timm's, any size serves."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.models.vit import SIZES, Size, VisionTransformer, vit_tiny

SMALL = Size(16, 3, 2)


def small(**options: Any) -> VisionTransformer:
    network = VisionTransformer(SMALL, image_size=(16, 24), patch=8, **options).double().eval()
    for parameter in network.parameters():  # so that nothing hides behind a start at zero or one
        nn.init.normal_(parameter, std=0.3)
    return network


def oracle(network: VisionTransformer, image: Tensor, *, eps: float = 1e-6) -> Tensor:
    """All tokens, by unfolded patches and `nn.TransformerEncoderLayer`, after the last norm where there is one."""
    state = network.state_dict()
    patches = F.unfold(image, 8, stride=8).transpose(1, 2)  # [b, n, c * 8 * 8]
    tokens = patches @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    names = ("cls_token", "dist_token", "reg_token")
    prefix = [state[name].expand(len(image), -1, -1) for name in names if name in state]
    tokens = torch.cat([*prefix, tokens], 1)
    if "pos_embed" in state:
        table = state["pos_embed"]
        tokens[:, tokens.shape[1] - table.shape[1] :] += table
    for i in range(SMALL.depth):
        layer = nn.TransformerEncoderLayer(
            16, 2, 64, dropout=0.0, activation="gelu", layer_norm_eps=eps, batch_first=True, norm_first=True
        ).double()
        names = {
            "self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc1.",
            "linear2.": "mlp.fc2.", "norm1.": "norm1.", "norm2.": "norm2.",
        }  # fmt: skip
        layer.load_state_dict(
            {
                f"{there}{kind}": state[f"blocks.{i}.{here}{kind}"]
                for there, here in names.items()
                for kind in ("weight", "bias")
            }
        )
        tokens = layer(tokens)
    return (
        F.layer_norm(tokens, (16,), state["norm.weight"], state["norm.bias"], eps) if "norm.weight" in state else tokens
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"registers": 3},
        {"registers": 3, "table_prefix": "none"},
        {"class_token": False},
        {"table": "none"},
        {"distilled": True},
        {"distilled": True, "registers": 3, "table_prefix": "none"},
    ],
)
def test_it_equals_pytorchs_own_layers(options: dict[str, Any]) -> None:
    network = small(**options)
    image = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    tokens = oracle(network, image)
    torch.testing.assert_close(network.tokens(image), tokens)
    grid = tokens[:, network.prefix :].reshape(2, 2, 3, 16).permute(0, 3, 1, 2)
    torch.testing.assert_close(network(image), grid)
    torch.testing.assert_close(network.maps(image)[-1], grid)
    summary = tokens[:, 0] if network.cls_token is not None else tokens.mean(1)
    torch.testing.assert_close(network.summary(image), summary)


def test_names_are_those_of_timm() -> None:
    network = VisionTransformer(Size(8, 2, 2), image_size=(16, 16), patch=8, classes=5, registers=2, layer_scale=1e-5)
    layers = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    block = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    expected = {"cls_token", "reg_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    expected |= {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    expected |= {f"blocks.{i}.{name}" for i in (0, 1) for name in block | {"ls1.gamma", "ls2.gamma"}}
    state = network.state_dict()
    assert set(state) == expected
    assert state["pos_embed"].shape == (1, 3 + 4, 8)
    without = VisionTransformer(
        Size(8, 2, 2), image_size=(16, 16), patch=8, registers=2, table_prefix="none"
    ).state_dict()
    assert without["pos_embed"].shape == (1, 4, 8)


def test_classification_is_the_head_on_the_class_token() -> None:
    network = small(classes=5)
    image = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    expected = oracle(network, image)[:, 0] @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network.classify(image), expected)


def test_a_distilled_network_answers_by_both_classifiers() -> None:
    network = small(classes=5, distilled=True, registers=1)
    image = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    tokens = oracle(network, image)
    first = tokens[:, 0] @ network.head.weight.T + network.head.bias
    second = tokens[:, 1] @ network.head_dist.weight.T + network.head_dist.bias
    torch.testing.assert_close(network.classify_both(image), (first, second))
    torch.testing.assert_close(network.classify(image), (first + second) / 2)
    torch.testing.assert_close(network(image), tokens[:, 3:].mT.unflatten(2, (2, 3)))
    names = set(network.state_dict())
    assert {"dist_token", "head_dist.weight", "head_dist.bias"} < names
    assert network.pos_embed.shape == (1, 3 + 6, 16)
    assert "head_dist.weight" not in small(distilled=True).state_dict()


@pytest.mark.parametrize("options", [{}, {"class_token": False}, {"registers": 2}])
def test_the_mean_is_normed_after_it_was_taken(options: dict[str, Any]) -> None:
    network = small(classes=5, pool="mean", **options)
    assert {"fc_norm.weight", "fc_norm.bias"} < set(network.state_dict())
    assert "norm.weight" not in network.state_dict()
    image = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    tokens = oracle(network, image)
    torch.testing.assert_close(network(image), tokens[:, network.prefix :].mT.unflatten(2, (2, 3)))  # not normed
    mean = tokens[:, network.prefix :].mean(1)
    summary = F.layer_norm(mean, (16,), network.fc_norm.weight, network.fc_norm.bias, 1e-6)
    torch.testing.assert_close(network.summary(image), summary)
    torch.testing.assert_close(network.classify(image), summary @ network.head.weight.T + network.head.bias)


def test_the_eps_of_every_norm_is_the_one_asked_for() -> None:
    image = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    for options in ({}, {"pool": "mean"}):
        network = small(norm_eps=0.3, **options)
        assert {m.eps for m in network.modules() if isinstance(m, nn.LayerNorm)} == {0.3}
        torch.testing.assert_close(network.tokens(image), oracle(network, image, eps=0.3))


def test_another_size_resizes_the_table_alone() -> None:
    network = small()
    image = torch.randn(1, 3, 40, 16, dtype=torch.float64)
    grid = network.pos_embed[:, 1:].reshape(1, 2, 3, 16).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(5, 2), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    resized = VisionTransformer(SMALL, image_size=(40, 16), patch=8).double().eval()
    resized.load_state_dict({**network.state_dict(), "pos_embed": torch.cat([network.pos_embed[:, :1], grid], 1)})
    torch.testing.assert_close(network(image), resized(image), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("query", [0, 1, (0, 0), (1, 2)])
@pytest.mark.parametrize("block", [0, -1])
def test_weights_are_those_of_the_block(query: int | tuple[int, int], block: int) -> None:
    network = small(registers=1)
    image = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    inputs = []
    network.blocks[block].attn.register_forward_hook(lambda module, given, out: inputs.append((given[0], out)))
    network(image)
    normed, out = inputs[0]
    value = network.blocks[block].attn.qkv(normed)[..., 32:].reshape(2, 8, 2, 8)
    weights = network.weights(image, query, block=block)
    assert weights.shape == (2, 2, 8)
    mixed = torch.einsum("bhn,bnhd->bhd", weights, value).flatten(1)
    index = query if isinstance(query, int) else 2 + query[0] * 3 + query[1]
    torch.testing.assert_close(network.blocks[block].attn.proj(mixed), out[:, index])


def test_maps_come_from_every_quarter() -> None:
    image = torch.randn(1, 3, 16, 16)
    for depth, count in ((1, 1), (3, 3), (4, 4), (8, 4)):
        network = VisionTransformer(Size(8, depth, 2), image_size=(16, 16), patch=8).eval()
        maps = network.maps(image)
        assert len(maps) == count
        torch.testing.assert_close(maps[-1], network(image))


def test_stochastic_depth_grows_from_none() -> None:
    network = VisionTransformer(Size(8, 3, 2), drop_path=0.2)
    assert [block.drop_path.probability for block in network.blocks] == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence() -> None:
    network = vit_tiny(image_size=(32, 32))
    assert len(network.blocks) == SIZES["tiny"].depth
    with pytest.raises(ValueError, match="do not tile an image of 40 x 64: give multiples of 16, such as 32 x 64"):
        network(torch.zeros(1, 3, 40, 64))
    with pytest.raises(ValueError, match="do not tile an image of 5 x 32: give multiples of 16, such as 16 x 32"):
        network(torch.zeros(1, 3, 5, 32))
    with pytest.raises(ValueError, match="do not tile an image of 30 x 30"):
        vit_tiny(image_size=(30, 30))
    with pytest.raises(ValueError, match="VisionTransformer takes images"):
        network(torch.zeros(3, 32, 32))
    with pytest.raises(ValueError, match="no classifier: build it with classes="):
        network.classify(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="no second classifier: build it with distilled=True, classes="):
        VisionTransformer(Size(8, 1, 2), classes=3).classify_both(torch.zeros(1, 3, 32, 32))
    for options in ({"class_token": False}, {"pool": "mean"}):
        with pytest.raises(ValueError, match="beside a class token: leave class_token=True, pool='token'"):
            VisionTransformer(Size(8, 1, 2), distilled=True, **options)
    with pytest.raises(ValueError, match="unknown pooling 'avg': it is one of token, mean"):
        VisionTransformer(Size(8, 1, 2), pool="avg")
    with pytest.raises(ValueError, match="10 channels do not divide into 4 heads"):
        VisionTransformer(Size(10, 1, 4))
    with pytest.raises(ValueError, match=r"\(2, 0\) does not lie on a map of size \(2, 2\)"):
        network.weights(torch.zeros(1, 3, 32, 32), (2, 0))


@pytest.mark.compile
def test_it_compiles_whole_at_another_size() -> None:
    network = VisionTransformer(Size(8, 2, 2), image_size=(16, 16), patch=8).eval()
    image = torch.randn(1, 3, 24, 16)
    torch.testing.assert_close(torch.compile(network, fullgraph=True, backend="aot_eager")(image), network(image))
