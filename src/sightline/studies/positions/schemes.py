"""The encodings of where that the study compares, each on the same Vision Transformer.

Schemes that number the patches row by row ("1-D") know nothing of rows and columns; the others are told (y, x). At a
size that it was not trained at, each goes on by the rule that its library or paper has: a learned table is resized
(bicubic; in one dimension for the 1-D table), Swin's table of offsets is resized, or clipped so that far offsets share
the last one (Shaw et al., 2018, https://arxiv.org/abs/1803.02155, section 3.2), and the rest is defined at any size.

Left out: class tokens, and everything tuned for one scheme.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.positions import AlibiBias, RelativeBias2d, RotaryAxial, RotaryMixed
from sightline.models.vit import PatchEmbedding, Size, VisionTransformer
from sightline.ops.arguments import choose
from sightline.ops.positions import bicubic_matrix, grid, sinusoidal
from sightline.ops.relative import relative_bias, resize_relative_table
from sightline.studies.positions.grids import CELL, CLASSES

WIDTH, DEPTH, HEADS, MLP_RATIO = 64, 3, 4, 2.0


class Numbered(nn.Module):
    """Patches that are told their number, counted row by row, and nothing else: a fixed or a learned 1-D table."""

    def __init__(self, patches: PatchEmbedding, channels: int, length: int | None) -> None:
        super().__init__()
        self.patches = patches
        self.table = None if length is None else nn.Parameter(torch.empty(length, channels))
        if self.table is not None:
            nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n channels"]:
        """The patches' tokens, each with the code of its number; a learned table is stretched to their count."""
        tokens = self.patches(image)
        n, channels = tokens.shape[1:]
        if self.table is None:
            return tokens + sinusoidal(n, channels, dtype=tokens.dtype)
        if n == len(self.table):
            return tokens + self.table
        return tokens + bicubic_matrix(len(self.table), n, antialias=True, dtype=tokens.dtype) @ self.table


class StretchedOffsets(nn.Module):
    """Swin's table of offsets, resized to a map that is larger than its own."""

    def __init__(self, heads: int, size: Sequence[int]) -> None:
        super().__init__()
        self.known = RelativeBias2d(heads, size)

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """The bias of a map of any size."""
        old = self.known.size
        new = tuple(max(a, b) for a, b in zip(size, old, strict=True))
        table = resize_relative_table(self.known.relative_position_bias_table, old, new)
        return relative_bias(table, size, new)


class ClippedOffsets(nn.Module):
    """The same table; an offset beyond it counts as the furthest that it has."""

    def __init__(self, heads: int, size: Sequence[int]) -> None:
        super().__init__()
        self.known = RelativeBias2d(heads, size)

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """The bias of a map of any size."""
        at, index = grid(size), torch.zeros(1, dtype=torch.long)
        for axis, most in enumerate(self.known.size):
            offset = (at[:, None, axis] - at[None, :, axis]).clamp(1 - most, most - 1)
            index = index * (2 * most - 1) + offset + (most - 1)
        return self.known.relative_position_bias_table[index].permute(2, 0, 1)


def _plain(size: tuple[int, int], **options: object) -> VisionTransformer:
    """The transformer that all schemes share, for canvases of this many cells."""
    options = {"table": "none", **options}
    return VisionTransformer(
        Size(WIDTH, DEPTH, HEADS),
        image_size=(size[0] * CELL, size[1] * CELL),
        patch=CELL,
        class_token=False,
        mlp_ratio=MLP_RATIO,
        **options,  # type: ignore[arg-type]
    )


def _numbered(size: tuple[int, int], *, learned: bool) -> VisionTransformer:
    made = _plain(size)
    patches: nn.Module = Numbered(made.patch_embed, WIDTH, size[0] * size[1] if learned else None)
    made.add_module("patch_embed", patches)
    return made


SCHEMES: dict[str, Callable[[tuple[int, int]], VisionTransformer]] = {
    "none": lambda size: _plain(size),
    "sinusoidal 1-D": lambda size: _numbered(size, learned=False),
    "learned 1-D": lambda size: _numbered(size, learned=True),
    "sin-cos 2-D": lambda size: _plain(size, table="mae"),
    "learned 2-D": lambda size: _plain(size, table="learned"),
    "relative resized": lambda size: _plain(size, position=StretchedOffsets(HEADS, size)),
    "relative clipped": lambda size: _plain(size, position=ClippedOffsets(HEADS, size)),
    "ALiBi 2-D": lambda size: _plain(size, position=AlibiBias(HEADS)),
    "rotary axial": lambda size: _plain(size, position=RotaryAxial(WIDTH // HEADS)),
    "rotary mixed": lambda size: _plain(size, position=RotaryMixed(HEADS, WIDTH // HEADS)),
    "conditional": lambda size: _plain(size, conditional=True),
}
TRAINED_AS = {"relative clipped": "relative resized"}  # one training serves both: they differ beyond its size alone


class GridNetwork(nn.Module):
    """A Vision Transformer with one scheme, and a linear head on each patch.

    Raises:
        ValueError: an unknown scheme.
    """

    def __init__(self, scheme: str, size: Sequence[int]) -> None:
        super().__init__()
        rows, columns = size
        self.encoder = SCHEMES[choose("scheme", scheme, SCHEMES)]((rows, columns))
        self.head = nn.Conv2d(WIDTH, CLASSES, 1)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k y x"]:
        """Logits of every cell."""
        return self.head(self.encoder(image))
