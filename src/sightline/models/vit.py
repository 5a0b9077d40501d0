"""The Vision Transformer (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, section 3.1) as an encoder:
patches become tokens, and the tokens of the last block are a map again.

Names are timm's, and its plain ViT weights load: `cls_token`, `reg_token`, `pos_embed`, `patch_embed.proj`, `blocks.i`,
`norm`, `head`. Register tokens follow Darcet et al., 2024, https://arxiv.org/abs/2309.16588, section 2.3. The learned
table of positions is resized, with antialiasing as in timm, to whatever size comes in.

Left out: distillation tokens, pooled norms (`fc_norm`), dropout, and hybrids with a convolutional stem.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.attention import flat_index
from sightline.layers.transformer import TransformerBlock
from sightline.models.encoder import check_image
from sightline.ops.positions import resize_table


@dataclass(frozen=True)
class Size:
    """How large a Vision Transformer is: width of its tokens, number of blocks, heads."""

    channels: int
    depth: int
    heads: int


SIZES = {  # tiny and small: Touvron et al., 2021, https://arxiv.org/abs/2012.12877, table 1; the others: ViT, table 1
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
}


class PatchEmbedding(nn.Module):
    """Every patch a token: a convolution whose stride is its kernel, `[b, c, h, w] -> [b, y x, channels]`."""

    def __init__(self, image_channels: int, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(image_channels, channels, patch, patch)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n channels"]:
        """The patches row by row."""
        return self.proj(image).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """A plain Vision Transformer, `[b, c, h, w] -> [b, channels, h / patch, w / patch]`, any size the patch divides.

    Args:
        size: width, depth and heads.
        image_size: (h, w) for which the table of positions is made; other sizes resize it.
        patch: edge of a patch in pixels, the stride.
        image_channels: channels of the image.
        classes: outputs of the classifier `head`; 0 leaves it out.
        class_token: whether there is one; without it the summary is the mean over the map.
        registers: number of register tokens.
        table: whether there is a learned table of positions.
        table_has_prefix: whether the table has rows for the prefix tokens (timm's `no_embed_class` is its opposite).
        position: module with `rotate` or `bias` for every block's attention (`layers/positions.py`), shared by them.
        mlp_ratio: width of the MLPs over that of the tokens.
        layer_scale: start of the learned factors on the branches; None for none.
        drop_path: probability of leaving out a branch in the last block, growing linearly from the first.

    Raises:
        ValueError: an image size that the patch does not divide, heads that do not divide the channels.
    """

    def __init__(
        self,
        size: Size,
        *,
        image_size: tuple[int, int] = (224, 224),
        patch: int = 16,
        image_channels: int = 3,
        classes: int = 0,
        class_token: bool = True,
        registers: int = 0,
        table: bool = True,
        table_has_prefix: bool = True,
        position: nn.Module | None = None,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_channels, self.channels, self.stride, self.classes = image_channels, size.channels, patch, classes
        self.grid = self._grid(image_size)
        self.prefix, self.table_prefix = class_token + registers, (class_token + registers) * table_has_prefix
        self.patch_embed = PatchEmbedding(image_channels, size.channels, patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.channels)) if class_token else None
        self.reg_token = nn.Parameter(torch.empty(1, registers, size.channels)) if registers else None
        rows = self.table_prefix + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(torch.empty(1, rows, size.channels)) if table else None
        self.blocks = nn.ModuleList(
            TransformerBlock(
                size.channels,
                size.heads,
                mlp_ratio=mlp_ratio,
                layer_scale=layer_scale,
                drop_path=drop_path * block / max(size.depth - 1, 1),
                position=position,
            )
            for block in range(size.depth)
        )
        self.norm = nn.LayerNorm(size.channels, eps=1e-6)
        self.head: nn.Module = nn.Linear(size.channels, classes) if classes else nn.Identity()
        self._initialise()

    def _initialise(self) -> None:
        """Linear layers and positions start small and normal, biases at zero, as in DeiT and timm."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for token in (self.cls_token, self.reg_token):
            if token is not None:
                nn.init.normal_(token, std=1e-6)

    def _grid(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Patches along height and width."""
        patch = self.stride
        if any(s < patch or s % patch for s in size):
            near = [max(round(s / patch), 1) * patch for s in size]
            raise ValueError(
                f"patches of {patch} pixels do not tile an image of {size[0]} x {size[1]}: give multiples of {patch},"
                f" such as {near[0]} x {near[1]}"
            )
        return size[0] // patch, size[1] // patch

    def _embed(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The tokens that enter the first block, prefix first (class, then registers), and the size of the grid."""
        check_image("VisionTransformer", image, self.image_channels)
        grid = self._grid(tuple(image.shape[2:]))
        tokens = self.patch_embed(image)
        prefix = [t.expand(image.shape[0], -1, -1) for t in (self.cls_token, self.reg_token) if t is not None]
        if self.pos_embed is None:
            return torch.cat([*prefix, tokens], 1), grid
        table = resize_table(self.pos_embed, self.grid, grid, prefix=self.table_prefix, antialias=True)
        if self.table_prefix:
            return torch.cat([*prefix, tokens], 1) + table, grid
        return torch.cat([*prefix, tokens + table], 1), grid

    def _as_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return tokens[:, self.prefix :].unflatten(1, grid).movedim(-1, 1)

    def tokens(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n channels"]:
        """All tokens after the last norm, prefix first."""
        x, grid = self._embed(image)
        for block in self.blocks:
            x = block(x, size=grid)
        return self.norm(x)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map of the patches' tokens after the last norm."""
        return self._as_map(self.tokens(image), self._grid(tuple(image.shape[2:])))

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The map after every quarter of the blocks, each through the last norm, so that the last is `forward`'s."""
        x, grid = self._embed(image)
        depth, out = len(self.blocks), []
        for i, block in enumerate(self.blocks, 1):
            x = block(x, size=grid)
            if i in {-(-depth * quarter // 4) for quarter in (1, 2, 3, 4)}:
                out.append(self._as_map(self.norm(x), grid))
        return out

    def summary(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels"]:
        """The class token after the last norm, or the mean over the map where there is none."""
        tokens = self.tokens(image)
        return tokens[:, self.prefix :].mean(1) if self.cls_token is None else tokens[:, 0]

    def classify(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits, if the classifier was built."""
        if not self.classes:
            raise ValueError("this VisionTransformer has no classifier: build it with classes=")
        return self.head(self.summary(image))

    def weights(
        self, image: Float[Tensor, "b c h w"], query: int | tuple[int, int], *, block: int = -1
    ) -> Float[Tensor, "b heads n"]:
        """Where one token looks in one block, prefix tokens first; the last `y x` entries are the map, row by row.

        A tuple is a position on the grid, an int a token counted from the first: 0 is the class token.
        """
        x, grid = self._embed(image)
        wanted = range(len(self.blocks))[block]
        index = query if isinstance(query, int) else self.prefix + flat_index(query, grid)
        for layer in self.blocks[:wanted]:
            x = layer(x, size=grid)
        layer = self.blocks[wanted]
        assert isinstance(layer, TransformerBlock)
        return layer.weights(x, index, size=grid)


def vit_tiny(*, image_size: tuple[int, int] = (224, 224), patch: int = 16, classes: int = 0) -> VisionTransformer:
    """ViT-Ti. For any other option build `VisionTransformer(SIZES["tiny"], ...)`."""
    return VisionTransformer(SIZES["tiny"], image_size=image_size, patch=patch, classes=classes)


def vit_small(*, image_size: tuple[int, int] = (224, 224), patch: int = 16, classes: int = 0) -> VisionTransformer:
    """ViT-S. For any other option build `VisionTransformer(SIZES["small"], ...)`."""
    return VisionTransformer(SIZES["small"], image_size=image_size, patch=patch, classes=classes)


def vit_base(*, image_size: tuple[int, int] = (224, 224), patch: int = 16, classes: int = 0) -> VisionTransformer:
    """ViT-B. For any other option build `VisionTransformer(SIZES["base"], ...)`."""
    return VisionTransformer(SIZES["base"], image_size=image_size, patch=patch, classes=classes)


def vit_large(*, image_size: tuple[int, int] = (224, 224), patch: int = 16, classes: int = 0) -> VisionTransformer:
    """ViT-L. For any other option build `VisionTransformer(SIZES["large"], ...)`."""
    return VisionTransformer(SIZES["large"], image_size=image_size, patch=patch, classes=classes)
