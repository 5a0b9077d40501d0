"""Small networks for the receptive-field tests: attention in every form, masked and in windows."""

import torch
import torch.nn.functional as F
from tests.seeing.small_cases import Case, steps
from tests.seeing.small_convolutions import conv
from torch import Tensor, nn

from sightline.layers.criss_cross import RecurrentCrissCross
from sightline.layers.non_local import NonLocal
from sightline.models.vit import Size, VisionTransformer


def band(n: int, width: int = 4) -> Tensor:
    """Keys no further than `width` from the query along the rows joined."""
    at = torch.arange(n)
    return (at[:, None] - at).abs() <= width


class Attention(nn.Module):
    """Two heads over all positions of a map, after a patch embedding; how it is masked and written is chosen."""

    def __init__(self, mask: str = "", *, written: str = "sdpa", patch: int = 2) -> None:
        super().__init__()
        self.patches, self.qkv, self.last = conv(3, 8, patch, stride=patch), nn.Linear(8, 24), nn.Linear(8, 4)
        self.mask, self.written = mask, written

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        size, n = x.shape[2:], x.shape[2] * x.shape[3]
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        out = self.explicit(q, k, v, n) if self.written == "explicit" else self.fused(q, k, v, n)
        return self.last(out.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, size)

    def fused(self, q: Tensor, k: Tensor, v: Tensor, n: int) -> Tensor:
        if self.mask == "causal":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if self.mask == "float":
            hidden = torch.zeros(n, n, dtype=q.dtype).masked_fill(~band(n), float("-inf"))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
        if self.mask == "heads":  # each head has its own
            both = torch.stack([band(n, 1), band(n, 6) & ~band(n, 3)])[None]
            return F.scaled_dot_product_attention(q, k, v, attn_mask=both)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=band(n) if self.mask == "bool" else None)

    def explicit(self, q: Tensor, k: Tensor, v: Tensor, n: int) -> Tensor:
        scores = q @ k.transpose(-1, -2) / 2
        if self.mask == "bool":
            scores = scores.masked_fill(~band(n), float("-inf"))
        if self.mask == "float":
            scores = scores + torch.zeros(n, n, dtype=q.dtype).masked_fill(~band(n), float("-inf"))
        if self.mask == "after":  # weights multiplied by a table of zeros and ones, linear attention's causal form
            return (scores * torch.ones(n, n, dtype=q.dtype).tril()) @ v
        return scores.softmax(-1) @ v


class Windows(nn.Module):
    """Attention in windows, rolled and masked where `shift` is given (Liu et al., 2021)."""

    def __init__(self, window: int = 4, shift: int = 0, *, masked: bool = True) -> None:
        super().__init__()
        self.qkv, self.window, self.shift, self.masked = nn.Linear(4, 12), window, shift, masked

    def forward(self, x: Tensor) -> Tensor:
        (h, w), side = x.shape[2:], self.window
        x = x.roll((-self.shift, -self.shift), (2, 3))
        cut = x.unflatten(3, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 3, 5, 1)  # [b, wy, wx, s, s, c]
        q, k, v = self.qkv(cut.flatten(3, 4)).chunk(3, -1)
        mask = None
        if self.shift and self.masked:
            region = torch.zeros(h, w)
            for number, edge in enumerate((side, self.shift)):
                region[h - edge :] += number + 1
                region[:, w - edge :] += 10 * (number + 1)
            tiles = region.unflatten(1, (-1, side)).unflatten(0, (-1, side)).transpose(1, 2).flatten(2)
            mask = tiles[..., None] == tiles[..., None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.unflatten(3, (side, side)).permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
        return out.roll((self.shift, self.shift), (2, 3))


class Tokens(nn.Module):
    """A layer of tokens [b, n, c] between a patch embedding and a map."""

    def __init__(self, layer: nn.Module, how: str = "") -> None:
        super().__init__()
        self.patches, self.layer, self.how = conv(3, 8, 2, stride=2), layer, how

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        size, tokens = x.shape[2:], x.flatten(2).transpose(1, 2)
        n = tokens.shape[1]
        if self.how == "self":
            tokens = self.layer(tokens, tokens, tokens, need_weights=False)[0]
        elif self.how == "weights":
            tokens = self.layer(tokens, tokens, tokens)[0]
        elif self.how == "one key":
            tokens = self.layer(tokens, tokens[:, :3], tokens[:, :3])[0]
        elif self.how == "masked self":
            tokens = self.layer(tokens, tokens, tokens, attn_mask=~band(n))[0]
        elif self.how == "causal":
            mask = nn.Transformer.generate_square_subsequent_mask(n, dtype=tokens.dtype)
            tokens = self.layer(tokens, mask=mask)
        else:
            tokens = self.layer(tokens)
        return tokens.transpose(1, 2).unflatten(2, size)


class KernelAttention(nn.Module):
    """Linear attention: keys and values are summed first, so every query sees all without a table."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = conv(3, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        out = torch.einsum("bdn,bde->ben", q, torch.einsum("bdm,bem->bde", k, v))
        return (out / (q * k.sum(2, keepdim=True)).sum(1, keepdim=True)).unflatten(2, x.shape[2:])


def encoder_layer(**options: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, **options)  # type: ignore[arg-type]


def encoder(**options: object) -> nn.TransformerEncoder:
    return nn.TransformerEncoder(encoder_layer(**options), 2, enable_nested_tensor=False)


EVEN, ODD = (10, 14), (7, 9)

ATTENTION = {
    "attention": Case(Attention, EVEN),
    "attention, causal": Case(lambda: Attention("causal"), EVEN),
    "attention under a mask of truth values": Case(lambda: Attention("bool"), EVEN),
    "attention under a mask of minus infinity": Case(lambda: Attention("float"), EVEN),
    "attention, each head under its mask": Case(lambda: Attention("heads"), EVEN),
    "attention written out": Case(lambda: Attention(written="explicit"), EVEN),
    "attention written out, filled": Case(lambda: Attention("bool", written="explicit"), EVEN),
    "attention written out, minus infinity added": Case(lambda: Attention("float", written="explicit"), EVEN),
    "attention written out, multiplied by zeros": Case(lambda: Attention("after", written="explicit"), EVEN),
    "windows": Case(lambda: steps(conv(3, 4, 1), Windows(), conv(4, 3, 2)), (12, 8)),
    "shifted windows": Case(lambda: steps(conv(3, 4, 1), Windows(), Windows(4, 2)), (12, 8)),
    "shifted windows without the mask": Case(lambda: steps(conv(3, 4, 1), Windows(4, 1, masked=False)), (12, 8)),
    "non-local": Case(lambda: steps(conv(3, 4, 2), NonLocal(4, zero_initialised=False)), ODD),
    "non-local, a new block": Case(lambda: steps(conv(3, 4, 2), NonLocal(4)), ODD),
    "non-local, sub-sampled": Case(lambda: steps(conv(3, 4, 2), NonLocal(4, subsample=2, zero_initialised=False)), ODD),
    "non-local, pooled before": Case(
        lambda: steps(conv(3, 4, 2), NonLocal(4, subsample=2, pool="before", zero_initialised=False)), ODD
    ),
    "non-local by dot products": Case(
        lambda: steps(conv(3, 4, 2), NonLocal(4, "dot_product", zero_initialised=False)), ODD
    ),
    "non-local by concatenation": Case(
        lambda: steps(conv(3, 4, 2), NonLocal(4, "concatenation", zero_initialised=False)), ODD
    ),
    "criss-cross, once": Case(lambda: steps(conv(3, 4, 1), RecurrentCrissCross(4, 1, 2, gamma=0.5)), ODD),
    "criss-cross after a convolution": Case(lambda: steps(conv(3, 4), RecurrentCrissCross(4, 1, 2, gamma=0.5)), ODD),
    "criss-cross, a new layer": Case(lambda: steps(conv(3, 4, 2), RecurrentCrissCross(4, 1, 2)), ODD),
    "criss-cross twice": Case(lambda: steps(conv(3, 4, 1), RecurrentCrissCross(4, 2, 2, gamma=0.5)), ODD),
    "criss-cross three times": Case(
        lambda: steps(conv(3, 4, 1), RecurrentCrissCross(4, 3, 2, shared=False, gamma=0.5)), ODD
    ),
    "criss-cross by the table of all pairs": Case(
        lambda: steps(conv(3, 4, 1), RecurrentCrissCross(4, 1, 2, gamma=0.5, backend="reference")), ODD
    ),
    "multi-head": Case(lambda: Tokens(nn.MultiheadAttention(8, 2, batch_first=True), "self"), EVEN),
    "multi-head with weights": Case(lambda: Tokens(nn.MultiheadAttention(8, 2, batch_first=True), "weights"), EVEN),
    "multi-head, masked": Case(lambda: Tokens(nn.MultiheadAttention(8, 2, batch_first=True), "masked self"), EVEN),
    "multi-head, a few keys": Case(lambda: Tokens(nn.MultiheadAttention(8, 2, batch_first=True), "one key"), EVEN),
    "a transformer's encoder": Case(lambda: Tokens(encoder()), EVEN),
    "a transformer's encoder, norm first": Case(lambda: Tokens(encoder(norm_first=True)), EVEN),
    "a transformer's encoder, causal": Case(lambda: Tokens(encoder(), "causal"), EVEN),
    "linear attention": Case(KernelAttention, ODD),
    "a vision transformer": Case(
        lambda: steps(VisionTransformer(Size(8, 2, 2), image_size=(8, 12), patch=4, classes=0)), (8, 12)
    ),
}
