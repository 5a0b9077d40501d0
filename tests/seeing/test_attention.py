"""Where a network looks from one pixel: equal to the layers' own word, to PyTorch's, to Hugging Face's and to N x N."""

import importlib.util
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.criss_cross import CrissCross, RecurrentCrissCross
from sightline.layers.multi_head import MultiHeadAttention
from sightline.layers.non_local import NonLocal
from sightline.models.ccnet import CrissCrossHead
from sightline.models.vit import Size, VisionTransformer
from sightline.ops.patterns import everything
from sightline.ops.reference import attention_table
from sightline.seeing.attention import Look, looks

PHOTO = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(5))


def redraw(network: nn.Module, scale: float = 0.3) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return network


def inputs_of(network: nn.Module, layer: nn.Module, image: Tensor) -> list[Tensor]:
    """What a layer gets, found by a hook of the test's own."""
    got: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, args: got.append(args[0]))
    with torch.no_grad():
        network.eval()(image)
    handle.remove()
    return got


def sums(look: Look) -> Tensor:
    return look.weights.sum((1, 2)) + look.prefix.sum(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_block_of_a_vision_transformer(dtype: torch.dtype) -> None:
    network = VisionTransformer(Size(16, 3, 2), image_size=(24, 32), patch=8, registers=2)
    redraw(network).to(dtype)
    image = PHOTO.to(dtype)
    found = looks(network, image, (9, 30.2))
    assert [look.layer for look in found] == [f"blocks.{i}.attn" for i in range(3)]
    for i, look in enumerate(found):
        assert (look.kind, look.grid, look.query_grid, look.position) == ("multi-head", (3, 4), (3, 4), (1, 3))
        assert (look.number, look.passes, look.note) == (None, 1, "")
        with torch.no_grad():
            own = network.weights(image[:1], (1, 3), block=i)[0].to(look.weights.dtype)
        torch.testing.assert_close(look.prefix, own[:, :3])
        torch.testing.assert_close(look.weights, own[:, 3:].unflatten(1, (3, 4)))
        torch.testing.assert_close(sums(look), torch.ones_like(sums(look)), rtol=1e-2, atol=0)
    assert found[0].weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize("subsample", [1, 2])
def test_non_local_blocks_on_their_own_grids(pairwise: str, subsample: int) -> None:
    block = NonLocal(4, pairwise, subsample=subsample, zero_initialised=False)
    network = redraw(nn.Sequential(nn.Conv2d(3, 4, 4, 4), block)).double()
    (look,) = looks(network, PHOTO.double(), (23, 0))
    assert (look.layer, look.kind, look.position) == ("1", "non-local", (5, 0))
    assert (look.query_grid, look.grid) == ((6, 8), (6 // subsample, 8 // subsample))
    (x,) = inputs_of(network, block, PHOTO[:1].double())
    with torch.no_grad():
        query = x if pairwise == "gaussian" else block.theta(x)
        key = block.pool(x if pairwise == "gaussian" else block.phi(x))
        value = block.pool(block.g(x)).flatten(2)
        if pairwise == "concatenation":
            first, second = block.concat_project[0].weight.flatten().chunk(2)
            query, key = (torch.einsum("bdyx,d->byx", t, w)[:, None] for t, w in ((query, first), (key, second)))
        names = {"dot_product": "dot_product", "concatenation": "concatenation"}
        table = attention_table(query.flatten(2), key.flatten(2), pairwise=names.get(pairwise, "softmax"))
        torch.testing.assert_close(look.weights[0].flatten(), table[0, 40])
        # and what it takes home by these weights is what the layer takes
        taken = (value[0] * look.weights[0].flatten()).sum(-1)
        torch.testing.assert_close(taken, block.attend(x)[0, :, 5, 0])


def test_criss_cross_pass_by_pass_and_composed() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Conv2d(3, 4, 4, 4)
            self.alone, self.middle = CrissCross(4, 2, gamma=0.5), nn.Conv2d(4, 4, 3, padding=1)
            self.shared = RecurrentCrissCross(4, 3, 2, gamma=0.5)
            self.own = RecurrentCrissCross(4, 2, 2, shared=False, gamma=0.5)

        def forward(self, image: Tensor) -> Tensor:
            return self.own(self.middle(self.shared(self.middle(self.alone(self.before(image))))))

    network = redraw(Around()).double()
    found = looks(network, PHOTO.double(), (13, 21))
    assert [(k.layer, k.number, k.passes) for k in found] == [
        ("alone", None, 1),
        ("shared.cca", 1, 1),
        ("shared.cca", 2, 1),
        ("shared.cca", 3, 1),
        ("shared.cca", None, 3),
        ("own.cca.0", None, 1),
        ("own.cca.1", None, 1),
        ("own.cca", None, 2),
    ]
    for layer, of_layer in ((network.shared, found[1:5]), (network.own, found[5:])):
        x, product = inputs_of(network, layer, PHOTO[:1].double())[0], torch.eye(48, dtype=torch.float64)
        for look, one in zip(of_layer, layer.passes, strict=False):
            with torch.no_grad():
                table = criss_cross_table(one, x)
                x = one(x)
            product = table @ product
            torch.testing.assert_close(look.weights[0].flatten(), table[3 * 8 + 5])
            assert int((look.weights > 0).sum()) == 6 + 8 - 1
        torch.testing.assert_close(of_layer[-1].weights[0].flatten(), product[3 * 8 + 5])
        assert of_layer[-1].position == (3, 5)
        assert bool((of_layer[-1].weights > 0).all())


def criss_cross_table(layer: CrissCross, x: Tensor) -> Tensor:
    """The whole table by hand: a softmax over all pairs of which those that share neither row nor column are hidden."""
    y, x_ = torch.meshgrid(torch.arange(x.shape[2]), torch.arange(x.shape[3]), indexing="ij")
    y, x_ = y.flatten(), x_.flatten()
    query, key = layer.query_conv(x)[0].flatten(1), layer.key_conv(x)[0].flatten(1)
    apart = (y[:, None] != y) & (x_[:, None] != x_)
    return (query.T @ key).masked_fill(apart, -torch.inf).softmax(-1)


def test_the_published_head_of_two_passes() -> None:
    head = redraw(CrissCrossHead(3, 2, inner=8))
    first, second, both = looks(head, PHOTO, (13, 21))
    assert [(k.layer, k.number, k.passes) for k in (first, second, both)] == [
        ("cca", 1, 1),
        ("cca", 2, 1),
        ("cca", None, 2),
    ]
    with torch.no_grad():
        torch.testing.assert_close(both.weights, head.eval().weights(PHOTO[:1], (13, 21)), rtol=1e-4, atol=1e-7)


def test_a_layer_of_ones_own_needs_the_two_members_alone() -> None:
    class Own(nn.Module):
        pattern = staticmethod(everything)

        def forward(self, x: Tensor, sharp: float = 1.0) -> Tensor:
            flat = x.flatten(2)
            return ((sharp * flat.mT @ flat).softmax(-1) @ flat.mT).mT.unflatten(2, x.shape[2:])

        def weights(self, x: Tensor, query: tuple[int, ...], sharp: float = 1.0) -> Tensor:
            here = x[:, :, query[0], query[1]]
            return (sharp * torch.einsum("bc,bcn->bn", here, x.flatten(2))).softmax(-1).unflatten(1, x.shape[2:])

    class Sharp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = Own()

        def forward(self, x: Tensor) -> Tensor:
            return self.own(x, 2.5)

    network = nn.Sequential(nn.Conv2d(3, 4, 4, 4), Sharp()).double()
    (look,) = looks(network, PHOTO.double(), (0, 31))
    assert (look.layer, look.kind, look.grid) == ("1.own", "attention layer", (6, 8))
    with torch.no_grad():
        flat = network[0](PHOTO[:1].double()).flatten(2)[0]
    torch.testing.assert_close(look.weights[0].flatten(), (2.5 * flat.T @ flat).softmax(-1)[7])


def test_a_mask_and_a_size_reach_the_layers_own_weights() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = MultiHeadAttention(3, 3)
            self.map = MultiHeadAttention(3, 1)

        def forward(self, image: Tensor) -> Tensor:
            small = F.avg_pool2d(image, 8)
            mask = torch.zeros(1, 13, dtype=torch.bool)
            mask[:, 3:8] = True
            tokens = torch.cat([small.flatten(2).mT[:, :1], small.flatten(2).mT], 1)
            self.map(small, mask=mask[:, 1:].reshape(1, 3, 4))
            return self.attention(tokens, size=(3, 4), mask=mask)

    on_map, on_tokens = looks(Masked(), PHOTO, (0, 0))
    assert (on_map.grid, on_map.prefix.shape) == ((3, 4), (1, 0))
    assert (on_tokens.grid, on_tokens.prefix.shape) == ((3, 4), (3, 1))
    seen = torch.zeros(12, dtype=torch.bool)
    seen[2:7] = True
    for look in (on_map, on_tokens):
        assert torch.equal((look.weights > 0).flatten(1), seen.expand(len(look.weights), -1))
        torch.testing.assert_close(sums(look), torch.ones(len(look.weights)))


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_hugging_faces_vision_transformer(implementation: str) -> None:
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
    network = ViTModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        expected = network(PHOTO, output_attentions=True).attentions
    network.set_attn_implementation(implementation)
    found = looks(network, PHOTO, (9, 30.2))
    assert network.config._attn_implementation == implementation
    kind = "scaled dot product" if implementation == "sdpa" else "softmax written out"
    assert [(k.kind, k.grid, k.position) for k in found] == [(kind, (3, 4), (1, 3))] * 3
    assert [k.layer for k in found] == [f"layers.{i}.attention" for i in range(3)]
    for look, table in zip(found, expected, strict=True):
        torch.testing.assert_close(look.prefix, table[0, :, 1 + 7, :1])
        torch.testing.assert_close(look.weights, table[0, :, 1 + 7, 1:].unflatten(1, (3, 4)))


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_windows_are_told_in_their_own_order_never_as_a_picture(implementation: str) -> None:
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4)
    config._attn_implementation = implementation
    found = looks(SwinModel(config), torch.randn(1, 3, 32, 32), (3, 3))
    assert len(found) == 3
    assert "fit no grid" in found[2].note  # one window, 4 x 4, and no map of that size was ever made
    for look in found[:2]:
        assert look.grid is look.position is None
        assert look.weights.shape == (2, 1, 16)
        assert "works on 4 groups of 16 tokens" in look.note
        torch.testing.assert_close(sums(look), torch.ones(2))


def test_a_decoders_queries_and_a_masked_autoencoders_tokens_get_a_sentence() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.queries = nn.Conv2d(3, 4, 4, 4), nn.Parameter(torch.randn(1, 5, 4))
            self.cross = nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, image: Tensor) -> Tensor:
            tokens = self.patches(image).flatten(2).mT
            self.cross(self.queries, tokens, tokens)
            kept = tokens[:, ::4]  # 12, as 3 x 4 would be, and it is not 3 x 4
            return F.scaled_dot_product_attention(kept, kept, kept)

    cross, kept = looks(Decoder(), PHOTO, (3, 3))
    assert (cross.grid, cross.query_grid, cross.position) == ((6, 8), None, None)
    assert cross.note == "the 5 queries could not be placed on the image: these are the weights of query 2"
    assert (kept.grid, kept.position, kept.weights.shape) == (None, None, (1, 1, 12))
    assert "fit no grid over the image: these are the weights of token 6 of 12" in kept.note


def test_the_caller_can_say_how_many_tokens_come_first() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 4, 8, 8)

        def forward(self, image: Tensor) -> Tensor:
            tokens = torch.zeros(image.shape[0], 15, 4)
            tokens[:, 3:] = self.patches(image).flatten(2).mT
            return F.scaled_dot_product_attention(tokens, tokens, tokens)

    assert looks(Written(), PHOTO, (3, 3))[0].grid is None
    look = looks(Written(), PHOTO, (3, 3), prefix=3)[0]
    assert (look.grid, look.position, look.prefix.shape) == ((3, 4), (0, 0), (1, 3))


def test_no_table_of_pairs_is_made() -> None:
    """96 x 96 positions: a table of all pairs has 85 million numbers; none of a million is made."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            largest = max([largest, *(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))])
            return out

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Conv2d(3, 8, 1)

        def forward(self, image: Tensor) -> Tensor:
            x = (
                self.project(image).flatten(2).mT.unflatten(2, (2, 4)).transpose(1, 2).contiguous()
            )  # as its fused kernel wants it
            return F.scaled_dot_product_attention(x, x, x)

    image = torch.randn(1, 3, 96, 96)
    with Sizes():
        (look,) = looks(Two(), image, (64, 64))
    assert look.weights.shape == (2, 96, 96)
    assert 2 * 96 * 96 <= largest < 1_000_000


@pytest.mark.parametrize("query", [(-1, 0), (0, 32), (24, 0), (math.nan, 0)])
def test_a_pixel_off_the_image_gets_one_sentence(query: tuple[float, float]) -> None:
    with pytest.raises(
        ValueError, match="does not lie on the image of 24 x 32: rows go from 0 to 23, columns from 0 to"
    ):
        looks(nn.Conv2d(3, 4, 4, 4), PHOTO, query)


def test_a_network_without_attention_looks_nowhere() -> None:
    assert looks(nn.Conv2d(3, 4, 4, 4), PHOTO, (0, 0)) == []
