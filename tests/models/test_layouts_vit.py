"""Vision Transformers under the names of timm, DeiT, MAE, DINOv2 and torchvision: random tensors under the published
names, and the published formula that reads those names, with none of this library's code in it."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.models.layouts.dinov2 import from_dinov2
from sightline.models.layouts.tables import resize_as_published, tell_grid
from sightline.models.layouts.timm_vit import from_timm
from sightline.models.vit import Size, VisionTransformer
from sightline.models.weights import load_published

WIDTH, HEADS, DEPTH, PATCH, CLASSES = 16, 2, 3, 8, 5
Names = dict[str, Tensor]


def drawn(shapes: dict[str, tuple[int, ...]]) -> Names:
    return {name: 0.3 * torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


def layer(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def timm_file(rows: int, *, tokens: dict[str, int], last: str = "norm", scale: str = "") -> Names:
    """A file under timm's names: `tokens` of each kind, a table of `rows`."""
    shapes: dict[str, tuple[int, ...]] = {name: (1, n, WIDTH) for name, n in tokens.items()}
    shapes |= {"pos_embed": (1, rows, WIDTH), "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH)}
    shapes |= {"patch_embed.proj.bias": (WIDTH,), **norm(last), **layer("head", CLASSES, WIDTH)}
    for i in range(DEPTH):
        block = f"blocks.{i}."
        shapes |= norm(block + "norm1") | norm(block + "norm2")
        shapes |= layer(block + "attn.qkv", 3 * WIDTH, WIDTH) | layer(block + "attn.proj", WIDTH, WIDTH)
        shapes |= layer(block + "mlp.fc1", 4 * WIDTH, WIDTH) | layer(block + "mlp.fc2", WIDTH, 4 * WIDTH)
        if scale:
            shapes |= {block + scale.format(n): (WIDTH,) for n in (1, 2)}
    return drawn(shapes)


def blocks(x: Tensor, file: Names, scale: str = "") -> Tensor:
    """timm's blocks, written out."""

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), file[f"{name}.weight"], file[f"{name}.bias"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ file[f"{name}.weight"].T + file[f"{name}.bias"]

    for i in range(DEPTH):
        at = f"blocks.{i}."
        q, k, v = linear(normed(x, at + "norm1"), at + "attn.qkv").split(WIDTH, -1)
        heads = []
        for h in range(HEADS):
            some = slice(h * WIDTH // HEADS, (h + 1) * WIDTH // HEADS)
            scores = q[..., some] @ k[..., some].transpose(1, 2) / (WIDTH // HEADS) ** 0.5
            heads.append(scores.softmax(-1) @ v[..., some])
        branch = linear(torch.cat(heads, -1), at + "attn.proj")
        x = x + (branch * file[at + scale.format(1)] if scale else branch)
        branch = linear(F.gelu(linear(normed(x, at + "norm2"), at + "mlp.fc1")), at + "mlp.fc2")
        x = x + (branch * file[at + scale.format(2)] if scale else branch)
    return x


def last(x: Tensor, file: Names, name: str = "norm") -> Tensor:
    return F.layer_norm(x, (WIDTH,), file[f"{name}.weight"], file[f"{name}.bias"], 1e-6)


def patches(image: Tensor, file: Names) -> Tensor:
    tokens = F.conv2d(image, file["patch_embed.proj.weight"], file["patch_embed.proj.bias"], stride=PATCH)
    return tokens.flatten(2).transpose(1, 2)


def resized(table: Tensor, old: tuple[int, int], **options: Any) -> Tensor:
    """The rows of a grid by PyTorch's own interpolation."""
    maps = table.reshape(1, *old, WIDTH).permute(0, 3, 1, 2)
    return F.interpolate(maps, mode="bicubic", **options).permute(0, 2, 3, 1).flatten(1, 2)


def ours(size: tuple[int, int], **options: Any) -> VisionTransformer:
    built = {"image_size": size, "patch": PATCH, "classes": CLASSES, **options}
    return VisionTransformer(Size(WIDTH, DEPTH, HEADS), **built).double().eval()


def image_of(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, dtype=torch.float64)


def assert_same(here: Tensor, there: Tensor) -> None:
    torch.testing.assert_close(here, there, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (48, 24)])
def test_timm_antialiases_and_deit_does_not(size: tuple[int, int], wrapped: bool) -> None:
    file = timm_file(1 + 16, tokens={"cls_token": 1})
    network = ours(size)
    report = load_published(network, {"model": file, "epoch": 3} if wrapped else file)
    assert report.layout == ("DeiT" if wrapped else "timm ViT")
    assert report.left_in_file == {}
    assert report.left_in_model == ()
    image, grid = image_of(size), (size[0] // PATCH, size[1] // PATCH)
    table = file["pos_embed"]
    if size != (32, 32):
        table = torch.cat([table[:, :1], resized(table[:, 1:], (4, 4), size=grid, antialias=not wrapped)], 1)
        assert report.converted["pos_embed"].endswith("bicubic" if wrapped else "bicubic, antialiased")
    tokens = torch.cat([file["cls_token"].expand(2, -1, -1), patches(image, file)], 1) + table
    logits = last(blocks(tokens, file), file)[:, 0] @ file["head.weight"].T + file["head.bias"]
    assert_same(network.classify(image), logits)


@pytest.mark.parametrize("rows", [16, 20])
@pytest.mark.parametrize("prefix", ["all", "none"])
def test_timm_with_registers_whatever_the_table_has_rows_for(rows: int, prefix: str) -> None:
    file = timm_file(rows, tokens={"cls_token": 1, "reg_token": 3})
    network = ours((32, 32), registers=3, table_prefix=prefix)
    load_published(network, file)
    image = image_of((32, 32))
    there = [file["cls_token"].expand(2, -1, -1), file["reg_token"].expand(2, -1, -1), patches(image, file)]
    tokens = torch.cat(there, 1)
    tokens[:, 20 - rows :] += file["pos_embed"]
    assert_same(network.tokens(image), last(blocks(tokens, file), file))


def test_distilled_deit() -> None:
    file = timm_file(2 + 16, tokens={"cls_token": 1, "dist_token": 1}) | drawn(layer("head_dist", CLASSES, WIDTH))
    network = ours((32, 32), distilled=True)
    report = load_published(network, {"model": file})
    assert report.layout == "distilled DeiT"
    image = image_of((32, 32))
    tokens = torch.cat([file["cls_token"].expand(2, -1, -1), file["dist_token"].expand(2, -1, -1)], 1)
    tokens = last(blocks(torch.cat([tokens, patches(image, file)], 1) + file["pos_embed"], file), file)
    both = [tokens[:, i] @ file[f"{n}.weight"].T + file[f"{n}.bias"] for i, n in enumerate(("head", "head_dist"))]
    assert_same(network.classify(image), (both[0] + both[1]) / 2)


def test_deit_three_has_its_own_names_and_no_row_for_the_class() -> None:
    file = timm_file(16, tokens={"cls_token": 1}, scale="gamma_{}")
    network = ours((32, 32), layer_scale=1.0, table_prefix="none")
    report = load_published(network, {"model": file})
    assert report.layout == "DeiT III"
    image = image_of((32, 32))
    tokens = torch.cat([file["cls_token"].expand(2, -1, -1), patches(image, file) + file["pos_embed"]], 1)
    assert_same(network.tokens(image), last(blocks(tokens, file, "gamma_{}"), file))


def test_a_fine_tuned_mae_normalises_the_mean() -> None:
    file = timm_file(17, tokens={"cls_token": 1}, last="fc_norm")
    network = ours((32, 32), pool="mean")
    report = load_published(network, {"model": file})
    assert report.layout == "fine-tuned MAE or DeiT"
    image = image_of((32, 32))
    tokens = torch.cat([file["cls_token"].expand(2, -1, -1), patches(image, file)], 1) + file["pos_embed"]
    mean = last(blocks(tokens, file)[:, 1:].mean(1), file, "fc_norm")
    assert_same(network.classify(image), mean @ file["head.weight"].T + file["head.bias"])
    with pytest.raises(ValueError, match=r"does not fit: it is of pool mean where the network has token"):
        load_published(ours((32, 32)), {"model": file})


def test_the_encoder_of_mae_leaves_the_decoder() -> None:
    file = timm_file(17, tokens={"cls_token": 1})
    del file["head.weight"], file["head.bias"]
    more = {"decoder_pos_embed": (1, 17, 8), "mask_token": (1, 1, 8), "decoder_blocks.0.norm1.weight": (8,)}
    network = ours((32, 32), classes=0)
    report = load_published(network, {"model": file | drawn({**more, **layer("decoder_embed", 8, WIDTH)})})
    assert report.layout == "MAE"
    assert set(report.left_in_file) == {*more, "decoder_embed.weight", "decoder_embed.bias"}
    assert set(report.left_in_file.values()) == {"of the pre-training"}
    image = image_of((32, 32))
    tokens = torch.cat([file["cls_token"].expand(2, -1, -1), patches(image, file)], 1) + file["pos_embed"]
    assert_same(network.tokens(image), last(blocks(tokens, file), file))


def test_a_network_that_makes_its_table_itself_needs_none() -> None:
    """MAE, `util/pos_embed.py`: sin and cos of x, then of y, over 10000^(i / (d / 4)); zeros for the class."""
    omega = 10000.0 ** -(torch.arange(WIDTH // 4, dtype=torch.float64) / (WIDTH / 4))
    rows = [torch.zeros(WIDTH, dtype=torch.float64)]
    for y in range(4):
        for x in range(4):
            rows.append(torch.cat([(x * omega).sin(), (x * omega).cos(), (y * omega).sin(), (y * omega).cos()]))
    file = timm_file(17, tokens={"cls_token": 1}) | {"pos_embed": torch.stack(rows)[None]}
    network = ours((32, 32), table="mae")
    report = load_published(network, {"model": file})
    assert report.left_in_file == {"pos_embed": "the network makes the same table itself, and another for other sizes"}
    image = image_of((32, 32))
    tokens = torch.cat([file["cls_token"].expand(2, -1, -1), patches(image, file)], 1) + file["pos_embed"]
    torch.testing.assert_close(network.tokens(image), last(blocks(tokens, file), file), atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match=r"its pos_embed have no place here: .*allow_left=\('pos_embed',\)"):
        load_published(ours((32, 32), table="timm"), file)


def test_old_files_of_timm() -> None:
    file = timm_file(17, tokens={"cls_token": 1})
    flat = file["patch_embed.proj.weight"].flatten(1)
    network = ours((32, 32))
    report = load_published(network, file | {"patch_embed.proj.weight": flat})
    assert report.converted == {"patch_embed.proj.weight": "flat patches made a convolution's weight"}
    assert torch.equal(network.state_dict()["patch_embed.proj.weight"], file["patch_embed.proj.weight"])
    before = file | drawn(layer("pre_logits.fc", WIDTH, WIDTH))
    with pytest.raises(ValueError, match=r"no such classifier.*allow_missing=\('head\.\*',\)"):
        load_published(network, before)
    report = load_published(network, before, allow_missing=("head.*",))
    assert {"pre_logits.fc.weight", "head.weight"} < set(report.left_in_file)
    assert report.left_in_model == ("head.weight", "head.bias")
    with pytest.raises(ValueError, match="no square patch of one or three channels"):
        from_timm(file | {"patch_embed.proj.weight": torch.zeros(WIDTH, 50)})


@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("size", [(32, 32), (48, 24)])
def test_dinov2(registers: int, size: tuple[int, int]) -> None:
    file = timm_file(17, tokens={"cls_token": 1}, scale="ls{}.gamma")
    del file["head.weight"], file["head.bias"]
    file["mask_token"] = torch.zeros(1, WIDTH, dtype=torch.float64)
    if registers:
        file |= drawn({"register_tokens": (1, registers, WIDTH)})
    chunks = {re.sub(r"^blocks\.(\d+)", chunked, name): t for name, t in file.items()}
    assert "blocks.1.2.norm1.weight" in chunks
    image, grid = image_of(size), (size[0] // PATCH, size[1] // PATCH)
    table = file["pos_embed"]
    if size != (32, 32) and registers:  # as the hub builds it: interpolate_antialias=True, interpolate_offset=0.0
        places = resized(table[:, 1:], (4, 4), size=grid, antialias=True)
        table = torch.cat([table[:, :1], places], 1)
    elif size != (32, 32):
        factors = ((grid[0] + 0.1) / 4, (grid[1] + 0.1) / 4)
        table = torch.cat([table[:, :1], resized(table[:, 1:], (4, 4), scale_factor=factors)], 1)
    tokens = torch.cat([file["cls_token"].expand(2, -1, -1), patches(image, file)], 1) + table
    if registers:
        tokens = torch.cat([tokens[:, :1], file["register_tokens"].expand(2, -1, -1), tokens[:, 1:]], 1)
    tokens = last(blocks(tokens, file, "ls{}.gamma"), file)
    for published in (file, chunks):
        network = ours(size, registers=registers, layer_scale=1.0, table_prefix="class", classes=0)
        report = load_published(network, published)
        assert report.layout == ("DINOv2 with registers" if registers else "DINOv2")
        assert report.left_in_file == {"mask_token": "of the pre-training"}
        assert_same(network.tokens(image), tokens)
    with pytest.raises(ValueError, match=r"gated \(SwiGLU"):
        from_dinov2(file | drawn(layer("blocks.0.mlp.w12", 8, WIDTH)))


def chunked(match: re.Match[str]) -> str:
    """The name of a block in a network split into chunks of two."""
    return f"blocks.{int(match[1]) // 2}.{match[1]}"


@pytest.mark.parametrize("size", [(32, 32), (40, 40)])
@pytest.mark.parametrize("names", [("mlp.0", "mlp.3"), ("mlp.linear_1", "mlp.linear_2")])
def test_torchvision(names: tuple[str, str], size: tuple[int, int]) -> None:
    shapes: dict[str, tuple[int, ...]] = {"class_token": (1, 1, WIDTH), "encoder.pos_embedding": (1, 17, WIDTH)}
    shapes |= {"conv_proj.weight": (WIDTH, 3, PATCH, PATCH), "conv_proj.bias": (WIDTH,)}
    shapes |= norm("encoder.ln") | layer("heads.head", CLASSES, WIDTH)
    for i in range(DEPTH):
        at = f"encoder.layers.encoder_layer_{i}."
        attention = {"in_proj_weight": (3 * WIDTH, WIDTH), "in_proj_bias": (3 * WIDTH,)}
        shapes |= norm(at + "ln_1") | norm(at + "ln_2")
        shapes |= {f"{at}self_attention.{name}": shape for name, shape in attention.items()}
        shapes |= layer(at + "self_attention.out_proj", WIDTH, WIDTH)
        shapes |= layer(at + names[0], 4 * WIDTH, WIDTH) | layer(at + names[1], WIDTH, 4 * WIDTH)
    file = drawn(shapes)
    image, table = image_of(size), file["encoder.pos_embedding"]
    if size != (32, 32):
        places = resized(table[:, 1:], (4, 4), size=(size[0] // PATCH, size[1] // PATCH), align_corners=True)
        table = torch.cat([table[:, :1], places], 1)
    x = F.conv2d(image, file["conv_proj.weight"], file["conv_proj.bias"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([file["class_token"].expand(2, -1, -1), x], 1) + table
    for i in range(DEPTH):
        inside = {n.removeprefix(f"encoder.layers.encoder_layer_{i}."): t for n, t in file.items()}
        attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
        own = {n.removeprefix("self_attention."): t for n, t in inside.items() if n.startswith("self_attention.")}
        attention.load_state_dict(own)
        y = F.layer_norm(x, (WIDTH,), inside["ln_1.weight"], inside["ln_1.bias"], 1e-6)
        x = x + attention(y, y, y, need_weights=False)[0]
        y = F.layer_norm(x, (WIDTH,), inside["ln_2.weight"], inside["ln_2.bias"], 1e-6)
        y = F.gelu(F.linear(y, inside[f"{names[0]}.weight"], inside[f"{names[0]}.bias"]))
        x = x + F.linear(y, inside[f"{names[1]}.weight"], inside[f"{names[1]}.bias"])
    x = F.layer_norm(x, (WIDTH,), file["encoder.ln.weight"], file["encoder.ln.bias"], 1e-6)
    network = ours(size)
    report = load_published(network, file)
    assert report.layout == "torchvision ViT"
    assert report.left_in_file == {}
    assert set(report.converted) == ({"pos_embed"} if size != (32, 32) else set())
    assert_same(network.classify(image), F.linear(x[:, 0], file["heads.head.weight"], file["heads.head.bias"]))
    later = file | drawn(layer("heads.pre_logits", WIDTH, WIDTH))
    assert set(load_published(network, later, allow_missing=("head.*",)).left_in_file) == {
        "heads.pre_logits.weight", "heads.pre_logits.bias", "heads.head.weight", "heads.head.bias",
    }  # fmt: skip


def test_a_grid_is_told_or_asked_for() -> None:
    assert tell_grid(197, (0, 1), None, (16, 16)) == (1, (14, 14))
    assert tell_grid(196, (0, 1), None, (16, 16)) == (0, (14, 14))
    assert tell_grid(13, (0, 1), (3, 4), (2, 2)) == (1, (3, 4))
    with pytest.raises(ValueError, match=r"13 rows less 0 or 1 prefix tokens are a square not; give it by grid="):
        tell_grid(13, (0, 1), None, (3, 4))
    with pytest.raises(ValueError, match=r"9 rows less 0 or 5 prefix tokens are a square in two ways"):
        tell_grid(9, (0, 5), None, (3, 3))
    with pytest.raises(ValueError, match=r"16 places, 4 x 4 or 2 x 8 as in this network: say which by grid=\(4, 4\)"):
        tell_grid(17, (1,), None, (2, 8))
    with pytest.raises(ValueError, match=r"17 rows, a grid of 3 x 4 and 1 prefix tokens have another number"):
        tell_grid(17, (1,), (3, 4), (2, 8))


def test_an_oblong_table_keeps_its_axes() -> None:
    file = timm_file(1 + 10, tokens={"cls_token": 1})
    network = ours((16, 40))
    report = load_published(network, file, grid=(2, 5))
    assert report.converted == {}
    assert torch.equal(network.state_dict()["pos_embed"], file["pos_embed"])
    load_published(network, file, grid=(5, 2))
    turned = resized(file["pos_embed"][:, 1:], (5, 2), size=(2, 5), antialias=True)
    assert_same(network.state_dict()["pos_embed"][:, 1:], turned)


def test_half_precision_is_resized_in_single() -> None:
    table = torch.randn(4, 4, 3)
    half = resize_as_published(table.half(), (6, 7), "bicubic")
    assert half.dtype == torch.float16
    exact = resize_as_published(table.half().float(), (6, 7), "bicubic")
    torch.testing.assert_close(half, exact.half(), atol=0, rtol=0)
