"""Rollout is one row of the product of the layers' tables, each with the identity and rows that sum to one."""

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from sightline.models.vit import Size, VisionTransformer
from sightline.seeing.attention import looks
from sightline.seeing.attention_calls import watch_attention
from sightline.seeing.rollout import attention_rollout

IMAGE = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def network(depth: int = 4) -> VisionTransformer:
    made = VisionTransformer(Size(16, depth, 2), image_size=(24, 32), patch=8, registers=2).double()
    generator = torch.Generator().manual_seed(2)
    for parameter in made.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return made


def tables(vit: VisionTransformer) -> list[Tensor]:
    """The whole table of every head of every layer, from the layers' own word, token by token."""
    with torch.no_grad():
        return [
            torch.stack([vit.weights(IMAGE[:1], i, block=layer)[0] for i in range(15)], 1)
            for layer in range(len(vit.blocks))
        ]


@pytest.mark.parametrize("heads", ["mean", "max"])
@pytest.mark.parametrize(("residual", "depth"), [(0.5, None), (0.5, 2), (0.0, None), (0.8, 3), (1.0, None)])
@pytest.mark.parametrize("block", [4, 256])
def test_one_row_of_the_whole_product(heads: str, residual: float, depth: int | None, block: int) -> None:
    vit = network()
    product = torch.eye(15, dtype=torch.float64)
    for table in tables(vit)[:depth]:
        table = table.mean(0) if heads == "mean" else table.amax(0)
        table = table / table.sum(-1, keepdim=True)
        product = (residual * torch.eye(15, dtype=torch.float64) + (1 - residual) * table) @ product
    torch.testing.assert_close(product.sum(-1), torch.ones(15, dtype=torch.float64), rtol=0, atol=1e-12)
    # 3 prefix tokens, then pixel (9, 30) lies in the patch (1, 3)
    for query, row in (((9, 30), 3 + 7), (0, 0), (10, 10)):
        found = attention_rollout(vit, IMAGE, query, residual=residual, heads=heads, depth=depth, block=block)
        assert found.position == (None if query == 0 else (1, 3))
        assert (found.grid, len(found.layers)) == ((3, 4), depth or 4)
        torch.testing.assert_close(torch.cat([found.prefix, found.weights.flatten()]), product[row], rtol=1e-10, atol=0)
        assert abs(float(found.weights.sum() + found.prefix.sum()) - 1) < 1e-12


def test_popular_code_divides_the_wrong_way_and_this_does_not() -> None:
    """The slip that this file's normalisation is not: without `keepdim` columns are divided by row sums."""
    vit = network()
    wrong = torch.eye(15, dtype=torch.float64)
    for table in tables(vit):
        mixed = table.amax(0) + torch.eye(15, dtype=torch.float64)
        wrong = (mixed / mixed.sum(dim=-1)) @ wrong
    assert float((wrong.sum(-1) - 1).abs().max()) > 1e-3
    found = attention_rollout(vit, IMAGE, 0, heads="max")
    assert abs(float(found.weights.sum() + found.prefix.sum()) - 1) < 1e-12


def test_one_layer_without_residual_is_its_look() -> None:
    vit = network(1)
    (look,) = looks(vit, IMAGE, (20, 3))
    found = attention_rollout(vit, IMAGE, (20, 3), residual=0.0)
    torch.testing.assert_close(found.weights, look.weights.mean(0))
    torch.testing.assert_close(found.prefix, look.prefix.mean(0))


def test_rows_of_a_network_in_half_precision_still_sum_to_one() -> None:
    found = attention_rollout(network().bfloat16(), IMAGE.bfloat16(), (20, 3))
    assert abs(float(found.weights.sum() + found.prefix.sum()) - 1) < 1e-12


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_hugging_faces_tables_multiplied(implementation: str) -> None:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=(24, 32),
        patch_size=8,
    )
    config._attn_implementation = "eager"
    vit = ViTModel(config, add_pooling_layer=False).double().eval()
    with torch.no_grad():
        attentions = vit(IMAGE, output_attentions=True).attentions
    product = torch.eye(13, dtype=torch.float64)
    for table in attentions:
        product = (0.5 * table[0].double().mean(0) + 0.5 * torch.eye(13, dtype=torch.float64)) @ product
    vit.set_attn_implementation(implementation)
    found = attention_rollout(vit, IMAGE, (9, 30))
    # Hugging Face's own tables are rounded to float32 on the way
    torch.testing.assert_close(torch.cat([found.prefix, found.weights.flatten()]), product[8], rtol=1e-5, atol=1e-7)
    assert abs(float(found.weights.sum() + found.prefix.sum()) - 1) < 1e-12


def test_blocks_alone_are_made() -> None:
    vit, asked = network(), []
    watch_attention(vit, IMAGE, lambda call: asked.append(call.rows))
    assert asked[0](2, 5).shape == (2, 3, 15)


class Stack(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def test_what_cannot_be_rolled_out_gets_one_sentence() -> None:
    from sightline.layers.non_local import NonLocal

    with pytest.raises(ValueError, match="no attention layer was seen in Conv2d"):
        attention_rollout(nn.Conv2d(3, 4, 4, 4).double(), IMAGE, 0)
    two = Stack(nn.Conv2d(3, 4, 4, 4), NonLocal(4), nn.Conv2d(4, 4, 2, 2), NonLocal(4)).double()
    with pytest.raises(ValueError, match=r"layer 'layers.1' has 48, layer 'layers.3' 12: give depth="):
        attention_rollout(two, IMAGE, 0)
    coarse = Stack(nn.Conv2d(3, 4, 4, 4), NonLocal(4, subsample=2)).double()
    with pytest.raises(ValueError, match=r"layer 'layers.1' has 12 keys for 48 queries"):
        attention_rollout(coarse, IMAGE, 0)
    signed = Stack(nn.Conv2d(3, 4, 4, 4), NonLocal(4, "dot_product")).double()
    with pytest.raises(ValueError, match=r"layer 'layers.1' has negative weights"):
        attention_rollout(signed, IMAGE, 0)
    vit = network(2)
    for options, sentence in (
        ({"depth": 3}, "depth counts attention layers, 1 to 2 here, got 3"),
        ({"residual": 1.5}, r"the residual lies in \[0, 1\], got 1.5"),
        ({"heads": "min"}, "way to join heads"),
        ({"block": 0}, "at least one row, got 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            attention_rollout(vit, IMAGE, 0, **options)
    with pytest.raises(ValueError, match="token 15 was asked for, there are 15: 0 to 14"):
        attention_rollout(vit, IMAGE, 15)
    with pytest.raises(ValueError, match=r"pixel \(24, 0\) does not lie on the image of 24 x 32"):
        attention_rollout(vit, IMAGE, (24, 0))
