"""The transformer block is its formula, under timm's names, and can be asked where it looks."""

import pytest
import torch
import torch.nn.functional as F

from sightline.layers.attention import AttentionLayer
from sightline.layers.transformer import DropPath, TransformerBlock


def test_names_are_those_of_timm() -> None:
    plain = {
        *(f"{layer}.{kind}" for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
          for kind in ("weight", "bias"))
    }  # fmt: skip
    assert set(TransformerBlock(8, 2).state_dict()) == plain
    assert set(TransformerBlock(8, 2, layer_scale=1e-5).state_dict()) == plain | {"ls1.gamma", "ls2.gamma"}


@pytest.mark.parametrize("layer_scale", [None, 0.3])
def test_the_block_is_its_formula(layer_scale: float | None) -> None:
    block = TransformerBlock(8, 2, mlp_ratio=3.0, layer_scale=layer_scale, drop_path=0.5).double().eval()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    factor = 1.0 if layer_scale is None else layer_scale

    def normed(t: torch.Tensor) -> torch.Tensor:
        return (t - t.mean(-1, keepdim=True)) / (t.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()

    middle = x + factor * block.attn(normed(x))
    hidden = normed(middle) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    bent = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    expected = middle + factor * (bent @ block.mlp.fc2.weight.T + block.mlp.fc2.bias)
    torch.testing.assert_close(block(x), expected)


def test_weights_are_those_of_the_attention_inside() -> None:
    block = TransformerBlock(8, 2).double().eval()
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    weights = block.weights(x, (1, 2), size=(2, 3))
    value = block.attn.qkv(block.norm1(x))[..., 16:].reshape(2, 7, 2, 4)
    mixed = torch.einsum("bhn,bnhd->bhd", weights, value).flatten(1)
    torch.testing.assert_close(block.attn.proj(mixed), block.attn(block.norm1(x))[:, 6])


def test_a_dropped_path_keeps_the_mean_and_evaluation_keeps_all() -> None:
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    torch.testing.assert_close(out.flatten(1).amin(1), out.flatten(1).amax(1))  # a sample goes whole or not at all
    torch.testing.assert_close(out.mean(), torch.tensor(1.0), atol=0.05, rtol=0)
    torch.testing.assert_close(drop.eval()(x), x)
    with pytest.raises(ValueError, match=r"lies in \[0, 1\), got 1"):
        DropPath(1.0)


def test_gelu_is_the_exact_one() -> None:
    block = TransformerBlock(8, 2)
    x = torch.linspace(-3, 3, 50)
    torch.testing.assert_close(block.mlp.act(x), F.gelu(x, approximate="none"), atol=0, rtol=0)


def test_the_block_can_be_asked_like_any_attention_layer() -> None:
    assert isinstance(TransformerBlock(8, 2), AttentionLayer)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence() -> None:
    block = TransformerBlock(8, 2)
    for call in (block, lambda x: block.weights(x, 0)):
        with pytest.raises(
            ValueError, match=r"built for tokens \[b, n, 8\], got shape \(2, 8, 3, 5\): a map becomes tok"
        ):
            call(torch.zeros(2, 8, 3, 5))
        with pytest.raises(ValueError, match=r"built for tokens \[b, n, 8\], got shape \(2, 5, 7\)"):
            call(torch.zeros(2, 5, 7))
