"""Every way of telling a Vision Transformer where its patches lie, at the size it was built for and at others."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.positions import (
    AlibiBias,
    ConditionalPositions,
    RelativeBias2d,
    RotaryAxial,
    RotaryMixed,
)
from sightline.models.check import check_encoder
from sightline.models.vit import Size, VisionTransformer
from sightline.ops import positions

SIZES = [(16, 24), (40, 16)]  # of images: the one that the networks are built for, and another
PREFIX = {"distilled": True, "registers": 2}


def built(**options: Any) -> VisionTransformer:
    network = VisionTransformer(Size(16, 3, 2), image_size=(16, 24), patch=8, **options).double().eval()
    for parameter in network.parameters():  # so that nothing hides behind a start at zero or one
        nn.init.normal_(parameter, std=0.3)
    return network


def picture(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, dtype=torch.float64)


def entering(network: VisionTransformer, image: Tensor, block: int = 0) -> Tensor:
    """The tokens that enter a block."""
    seen: list[Tensor] = []
    hook = network.blocks[block].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    network(image)
    hook.remove()
    return seen[0]


def bare_tokens(network: VisionTransformer, image: Tensor) -> tuple[Tensor, Tensor]:
    """Prefix tokens and patches, told nothing."""
    weight, bias = network.patch_embed.proj.weight, network.patch_embed.proj.bias
    patches = F.unfold(image, 8, stride=8).transpose(1, 2) @ weight.flatten(1).T + bias
    parts = [t for t in (network.cls_token, network.dist_token, network.reg_token) if t is not None]
    prefix = torch.cat(parts, 1) if parts else patches.new_zeros(1, 0, patches.shape[2])
    return prefix.expand(len(image), -1, -1), patches


@pytest.mark.parametrize("options", [{}, PREFIX, {"class_token": False}], ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("table", "formula"),
    [
        ("mae", positions.sincos_mae),
        ("moco_v3", positions.sincos_moco_v3),
        ("big_vision", positions.sincos_big_vision),
        ("timm", positions.sincos_timm),
        ("sinusoidal", lambda grid, channels, dtype: positions.sinusoidal(math.prod(grid), channels, dtype=dtype)),
        ("none", None),
    ],
)
def test_fixed_tables_are_made_for_the_size_that_comes(
    table: str, formula: Callable[..., Tensor] | None, size: tuple[int, int], options: dict[str, Any]
) -> None:
    network = built(table=table, **options)
    assert not [name for name in network.state_dict() if "pos" in name or "fixed" in name]
    image = picture(size)
    prefix, patches = bare_tokens(network, image)
    rows = 0 if formula is None else formula((size[0] // 8, size[1] // 8), 16, dtype=torch.float64)
    torch.testing.assert_close(entering(network, image), torch.cat([prefix, patches + rows], 1))


def test_a_fixed_table_has_the_dtype_of_the_weights() -> None:
    network = built(table="mae").float()
    image = picture((16, 24)).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert entering(network, image).dtype == torch.float32  # as with a learned table: half plus float is float
    assert entering(network.bfloat16(), image.bfloat16()).dtype == torch.bfloat16


def resized(table: Tensor, size: tuple[int, int], rule: str) -> Tensor:
    """A table `[1, 6, 16]` of a grid of 2 x 3 by PyTorch's own interpolation, as the sources call it."""
    maps = table.reshape(1, 2, 3, 16).permute(0, 3, 1, 2)
    if rule == "offset":
        factors = ((size[0] + 0.1) / 2, (size[1] + 0.1) / 3)
        maps = F.interpolate(maps, scale_factor=factors, mode="bicubic")
    else:
        maps = F.interpolate(maps, size=size, mode="bicubic", antialias=rule == "antialias")
    assert maps.shape[2:] == size
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


@pytest.mark.parametrize("rule", ["antialias", "bicubic", "offset"])
@pytest.mark.parametrize(("rows", "count"), [("all", 4), ("class", 2), ("none", 0)])
@pytest.mark.parametrize("size", [*SIZES, (8, 8), (56, 72)])
def test_learned_tables_are_resized_by_the_rule_asked_for(
    rule: str, rows: str, count: int, size: tuple[int, int]
) -> None:
    network = built(table_prefix=rows, table_resize=rule, **PREFIX)
    assert network.pos_embed.shape == (1, count + 6, 16)
    image = picture(size)
    prefix, patches = bare_tokens(network, image)
    code, places = network.pos_embed[:, :count], network.pos_embed[:, count:]
    if size != SIZES[0]:
        places = resized(places, (size[0] // 8, size[1] // 8), rule)
    code = torch.cat([code, code.new_zeros(1, 4 - count, 16)], 1)
    expected = torch.cat([prefix + code, patches + places], 1)
    torch.testing.assert_close(entering(network, image), expected, atol=1e-6, rtol=1e-6)


def test_the_rules_differ() -> None:
    image = picture((40, 16))
    entered = []
    state = built().state_dict()
    for rule in ("antialias", "bicubic", "offset"):
        network = built(table_resize=rule)
        network.load_state_dict(state)
        entered.append(entering(network, image))
    assert all((entered[a] - entered[b]).abs().max() > 1e-3 for a, b in ((0, 1), (0, 2), (1, 2)))


def naive(network: VisionTransformer, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """All blocks and the last norm, each head by itself, with what `position` promises done by hand."""
    position, count = network.blocks[0].attn.position, math.prod(grid)
    for block in network.blocks:
        q, k, v = block.attn.qkv(block.norm1(x)).split(16, -1)
        heads = []
        for h in range(2):
            query, key, value = (t[..., 8 * h : 8 * h + 8] for t in (q, k, v))
            if hasattr(position, "rotate"):
                query, key = (turned(t, position, h, grid) for t in (query, key))
            scores = query @ key.transpose(1, 2) / 8**0.5
            if hasattr(position, "bias"):
                scores[:, -count:, -count:] += position_bias(position, h, grid)
            heads.append(scores.softmax(-1) @ value)
        x = x + block.attn.proj(torch.cat(heads, -1))
        x = x + block.mlp(block.norm2(x))
        if block is network.blocks[0] and isinstance(network.conditional, ConditionalPositions):
            places = x[:, -count:].transpose(1, 2).unflatten(2, grid)
            kernel = network.conditional.proj[0]
            places = places + F.conv2d(places, kernel.weight, kernel.bias, padding=1, groups=16)
            x = torch.cat([x[:, :-count], places.flatten(2).transpose(1, 2)], 1)
    return network.norm(x)


def turned(x: Tensor, position: nn.Module, head: int, grid: tuple[int, int]) -> Tensor:
    """The last tokens' pairs of channels as complex numbers, turned by the angles; prefix tokens are not."""
    options = {"dtype": torch.float64} if isinstance(position, RotaryAxial) else {}
    angles = position.angles(grid, **options)
    angles = angles if angles.dim() == 2 else angles[head]
    prefix, places = x.split([x.shape[1] - math.prod(grid), math.prod(grid)], 1)
    places = torch.view_as_complex(places.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.cat([prefix, torch.view_as_real(places).flatten(-2)], 1)


def position_bias(position: nn.Module, head: int, grid: tuple[int, int]) -> Tensor:
    """Entry by entry, from the definitions."""
    places = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    out = torch.zeros(len(places), len(places), dtype=torch.float64)
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            if isinstance(position, AlibiBias):
                out[i, j] = -(2.0 ** (-8 * (head + 1) / 2)) * math.hypot(y - v, x - u)
            else:  # Swin: a table of offsets for maps up to 6 x 6
                row = (y - v + 5) * 11 + (x - u + 5)
                out[i, j] = position.relative_position_bias_table[row, head]
    return out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"registers": 2, "distilled": True}, {"class_token": False}], ids=str)
@pytest.mark.parametrize(
    "scheme",
    [
        {"position": lambda: RotaryAxial(8)},
        {"position": lambda: RotaryMixed(2, 8)},
        {"position": lambda: RelativeBias2d(2, (6, 6))},
        {"position": lambda: AlibiBias(2)},
        {"conditional": True},
        {"conditional": True, "position": lambda: RotaryAxial(8), "table": "learned"},
    ],
    ids=["axial", "mixed", "relative", "alibi", "conditional", "three at once"],
)
def test_schemes_within_the_network(scheme: dict[str, Any], options: dict[str, Any], size: tuple[int, int]) -> None:
    scheme = {name: value() if name == "position" else value for name, value in scheme.items()}
    network = built(**{"table": "none", **scheme, **options})
    image = picture(size)
    grid = (size[0] // 8, size[1] // 8)
    expected = naive(network, entering(network, image), grid)
    torch.testing.assert_close(network.tokens(image), expected)
    torch.testing.assert_close(network(image), expected[:, network.prefix :].mT.unflatten(2, grid))
    torch.testing.assert_close(network.maps(image)[-1], network(image))


@pytest.mark.parametrize("size", SIZES)
def test_coordinates_are_two_more_channels(size: tuple[int, int]) -> None:
    network = built(coordinates=True, table="none")
    assert network.patch_embed.proj.weight.shape == (16, 5, 8, 8)
    image = picture(size)
    y, x = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in size)
    more = torch.stack([y[:, None].expand(size), x.expand(size)]).expand(2, -1, -1, -1)
    prefix, patches = bare_tokens(network, torch.cat([image, more], 1))
    torch.testing.assert_close(entering(network, image), torch.cat([prefix, patches], 1))


def shuffled(image: Tensor, order: Tensor) -> Tensor:
    """The patches of 8 x 8 pixels in another order."""
    patches = F.unfold(image, 8, stride=8)[:, :, order]
    return F.fold(patches, image.shape[2:], 8, stride=8)


def test_told_nothing_it_cannot_tell_places_apart() -> None:
    image, order = picture((32, 24)), torch.randperm(12)
    blind = built(table="none", registers=1)
    told = blind(image).flatten(2)[:, :, order]
    torch.testing.assert_close(blind(shuffled(image, order)).flatten(2), told, atol=1e-12, rtol=0)
    torch.testing.assert_close(blind.summary(shuffled(image, order)), blind.summary(image), atol=1e-12, rtol=0)
    ways: list[dict[str, Any]] = [
        {"table": table} for table in ("learned", "mae", "moco_v3", "big_vision", "timm", "sinusoidal")
    ]
    ways += [{"conditional": True}, {"coordinates": True}, {"position": RotaryAxial(8)}, {"position": AlibiBias(2)}]
    for way in ways:
        network = built(**{"table": "none", "registers": 1, **way})
        difference = network(shuffled(image, order)).flatten(2) - network(image).flatten(2)[:, :, order]
        assert difference.abs().max() > 1e-3, way


@pytest.mark.compile
@pytest.mark.parametrize("rule", ["antialias", "bicubic", "offset"])
def test_one_exported_graph_resizes_for_every_size_and_leaves_its_own(rule: str) -> None:
    network = built(table_resize=rule)
    y, x = torch.export.Dim("y", min=2, max=20), torch.export.Dim("x", min=2, max=20)
    sizes = {"image": {2: 8 * y, 3: 8 * x}}
    program = torch.export.export(network, (picture((24, 32)),), dynamic_shapes=sizes).module()
    for size in (*SIZES, (16, 32)):
        image = picture(size)
        torch.testing.assert_close(program(image), network(image))


@pytest.mark.parametrize("table", ["learned", "mae", "big_vision", "sinusoidal", "none"])
def test_they_keep_the_contract(table: str) -> None:
    network = VisionTransformer(
        Size(16, 2, 2), image_size=(16, 16), patch=8, table=table, coordinates=True, conditional=True,
        position=RotaryAxial(8), table_resize="offset", registers=1,
    )  # fmt: skip
    check_encoder(network, sizes=[(16, 16), (48, 32), (33, 16)])


def test_weights_count_the_conditional_positions() -> None:
    network = built(conditional=True, registers=1)
    image = picture((16, 24))
    for block in (0, 1, 2):
        x = network.blocks[block].norm1(entering(network, image, block))
        q, k, _ = (t.unflatten(-1, (2, 8)) for t in network.blocks[block].attn.qkv(x).split(16, -1))
        expected = (torch.einsum("bhd,bnhd->bhn", q[:, 2 + 5], k) / 8**0.5).softmax(-1)
        torch.testing.assert_close(network.weights(image, (1, 2), block=block), expected)


def test_bad_input_is_said_in_a_sentence() -> None:
    def build(**options: Any) -> VisionTransformer:
        return VisionTransformer(Size(16, 1, 2), **options)

    with pytest.raises(ValueError, match="unknown table of positions 'mea': did you mean 'mae'"):
        build(table="mea")
    with pytest.raises(ValueError, match="unknown way to resize the table 'bicubik': did you mean 'bicubic'"):
        build(table_resize="bicubik")
    with pytest.raises(ValueError, match=r"unknown prefix of the table 'registers': .* all, class, none"):
        build(table_prefix="registers")
    with pytest.raises(ValueError, match="a multiple of 4 channels, got 18"):
        VisionTransformer(Size(18, 1, 2), table="mae")(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"made for size \(2, 2\) cannot serve size \(3, 1\)"):
        build(position=RelativeBias2d(2, (2, 2)))(torch.zeros(1, 3, 48, 16))
