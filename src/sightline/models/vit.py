"""The Vision Transformer (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, section 3.1) as an encoder:
patches become tokens, and the tokens of the last block are a map again.

Names are timm's, and its plain ViT weights load: `cls_token`, `reg_token`, `pos_embed`, `patch_embed.proj`, `blocks.i`,
`norm`, `head`. Register tokens follow Darcet et al., 2024, https://arxiv.org/abs/2309.16588, section 2.3. The learned
table of positions is resized to whatever size comes in, by the rule that is asked for; a fixed table is made for that
size. The distillation token is DeiT's (Touvron et al., 2021, https://arxiv.org/abs/2012.12877, section 4).

Left out: dropout, and hybrids with a convolutional stem.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.attention import flat_index
from sightline.layers.positions import CONVENTIONS, ConditionalPositions, CoordinateChannels, SinCosPositions
from sightline.layers.recompute import recompute as run_again
from sightline.layers.transformer import TransformerBlock
from sightline.models.encoder import check_image
from sightline.ops.arguments import choose
from sightline.ops.positions import resize_table, sinusoidal


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
    "huge": Size(1280, 32, 16),
}
TABLES = ("learned", "none", *CONVENTIONS, "sinusoidal")
RESIZES = {  # whether antialiased, and what is added to the new size
    "antialias": (True, 0.0),  # timm, DINOv2 with registers
    "bicubic": (False, 0.0),  # DeiT, MAE, Hugging Face
    "offset": (False, 0.1),  # DINOv2 without registers
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
        distilled: whether there is a distillation token beside it, with a classifier `head_dist` of its own.
        registers: number of register tokens.
        table: "learned"; "none"; or a fixed one, made anew for each size: sin-cos in a convention of
            `layers.positions.SinCosPositions`, "mae", "moco_v3", "big_vision" or "timm", or "sinusoidal", the code of a
            sequence (Vaswani et al.) over the patches counted row by row.
        table_prefix: which prefix tokens have rows in the learned table: "all", "class" (DINOv2: the registers have
            none) or "none" (timm's `no_embed_class`).
        table_resize: how the learned table gets another size: "antialias" (timm: bicubic, antialiased), "bicubic"
            (DeiT, MAE, Hugging Face), "offset" (DINOv2: bicubic by the factor (new + 0.1) / old).
        coordinates: whether each pixel's coordinates in [-1, 1] join the image's channels.
        conditional: whether conditional positions follow the first block (Chu et al., https://arxiv.org/abs/2102.10882).
        position: module with `rotate` or `bias` for every block's attention (`layers/positions.py`), shared by them.
        pool: what is classified: "token", the class token after the last norm, or "mean", the mean over the patches'
            tokens, normed after it (`fc_norm`) and not before, as in MAE's fine-tuning; then no map is normed, and
            nothing but its blocks asks for the class token.
        mlp_ratio: width of the MLPs over that of the tokens.
        norm_eps: of every norm; 1e-6 in timm and DeiT, 1e-12 in Hugging Face's ViT.
        layer_scale: start of the learned factors on the branches; None for none.
        drop_path: probability of leaving out a branch in the last block, growing linearly from the first.
        recompute: whether blocks are run again in the backward pass, which saves memory (`layers/recompute.py`).

    Raises:
        ValueError: an image size that the patch does not divide, heads that do not divide the channels, an unknown
            option, a distillation token without a class token or beside pool="mean".
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
        distilled: bool = False,
        registers: int = 0,
        table: str = "learned",
        table_prefix: str = "all",
        table_resize: str = "antialias",
        coordinates: bool = False,
        conditional: bool = False,
        position: nn.Module | None = None,
        pool: str = "token",
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        choose("table of positions", table, TABLES)
        choose("prefix of the table", table_prefix, ("all", "class", "none"))
        self.table_resize = choose("way to resize the table", table_resize, RESIZES)
        self.pool = choose("pooling", pool, ("token", "mean"))
        if distilled and not (class_token and pool == "token"):
            raise ValueError("a distillation token answers beside a class token: leave class_token=True, pool='token'")
        self.image_channels, self.channels, self.stride, self.classes = image_channels, size.channels, patch, classes
        self.grid, self.recompute = self._grid(image_size), recompute
        self.prefix = class_token + distilled + registers
        self.table_prefix = {"all": self.prefix, "class": class_token + distilled, "none": 0}[table_prefix]
        self.coordinates = CoordinateChannels() if coordinates else None
        self.patch_embed = PatchEmbedding(image_channels + 2 * coordinates, size.channels, patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.channels)) if class_token else None
        self.dist_token = nn.Parameter(torch.empty(1, 1, size.channels)) if distilled else None
        self.reg_token = nn.Parameter(torch.empty(1, registers, size.channels)) if registers else None
        rows = self.table_prefix + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(torch.empty(1, rows, size.channels)) if table == "learned" else None
        fixed = table not in ("learned", "none")
        self.fixed = SinCosPositions(_row_by_row if table == "sinusoidal" else table) if fixed else None
        self.blocks = nn.ModuleList(
            TransformerBlock(
                size.channels,
                size.heads,
                mlp_ratio=mlp_ratio,
                norm_eps=norm_eps,
                layer_scale=layer_scale,
                drop_path=drop_path * block / max(size.depth - 1, 1),
                position=position,
            )
            for block in range(size.depth)
        )
        self.conditional = ConditionalPositions(size.channels) if conditional else None
        norms: list[nn.Module] = [nn.LayerNorm(size.channels, eps=norm_eps), nn.Identity()]
        self.norm, self.fc_norm = norms if pool == "token" else norms[::-1]
        self.head: nn.Module = nn.Linear(size.channels, classes) if classes else nn.Identity()
        self.head_dist = nn.Linear(size.channels, classes) if classes and distilled else None
        self._initialise()

    def _initialise(self) -> None:
        """Linear layers and positions start small and normal, biases at zero, as in DeiT and timm."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for table in (self.pos_embed, self.dist_token):
            if table is not None:
                nn.init.trunc_normal_(table, std=0.02)
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

    @property
    def _tokens(self) -> list[Tensor | None]:
        """The prefix tokens in their order."""
        return [self.cls_token, self.dist_token, self.reg_token]

    def _embed(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The tokens that enter the first block, prefix first (class, distillation, registers), and the grid."""
        check_image("VisionTransformer", image, self.image_channels)
        grid = self._grid(tuple(image.shape[2:]))
        tokens = self.patch_embed(image if self.coordinates is None else self.coordinates(image))
        if self.fixed is not None:
            weight = self.patch_embed.proj.weight  # its dtype, as a learned table's: under autocast tokens are in half
            tokens = tokens + self.fixed.table(grid, self.channels, device=weight.device, dtype=weight.dtype)
        prefix = [t.expand(image.shape[0], -1, -1) for t in self._tokens if t is not None]
        tokens = torch.cat([*prefix, tokens], 1)
        if self.pos_embed is None:
            return tokens, grid
        table = self._table(grid)
        bare = self.prefix - self.table_prefix  # prefix tokens without a row: they stand between those with and the map
        if bare:
            rows, places = table[:, : self.table_prefix], table[:, self.table_prefix :]
            table = torch.cat([rows, table.new_zeros(1, bare, self.channels), places], 1)
        return tokens + table, grid

    def _table(self, grid: tuple[int, int]) -> Tensor:
        """The learned table at the size of this grid."""
        assert self.pos_embed is not None
        antialias, offset = RESIZES[self.table_resize]
        return resize_table(
            self.pos_embed, self.grid, grid, prefix=self.table_prefix, antialias=antialias, offset=offset
        )

    def _as_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return tokens[:, self.prefix :].unflatten(1, grid).movedim(-1, 1)

    def _run(self, index: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """One block, and the conditional positions after the first."""
        block = self.blocks[index]
        x = run_again(block, x, size=grid) if self.recompute else block(x, size=grid)
        if index > 0 or self.conditional is None:
            return x
        places = self.conditional(self._as_map(x, grid)).flatten(2).mT
        return torch.cat([x[:, : self.prefix], places], 1)

    def _stages(self, image: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """The tokens after every quarter of the blocks, before the last norm, and the grid."""
        x, grid = self._embed(image)
        depth, out = len(self.blocks), []
        for i in range(depth):
            x = self._run(i, x, grid)
            if i + 1 in {-(-depth * quarter // 4) for quarter in (1, 2, 3, 4)}:
                out.append(x)
        return out, grid

    def tokens(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n channels"]:
        """All tokens after the last norm, prefix first."""
        return self.norm(self._stages(image)[0][-1])

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map of the patches' tokens after the last norm."""
        return self._as_map(self.tokens(image), self._grid(tuple(image.shape[2:])))

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The map after every quarter of the blocks, each through the last norm, so that the last is `forward`'s."""
        stages, grid = self._stages(image)
        return [self._as_map(self.norm(x), grid) for x in stages]

    def summary(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels"]:
        """The class token after the last norm, or the mean over the map where there is none or `pool` says so."""
        return self._summary(self.tokens(image))

    def _summary(self, tokens: Tensor) -> Tensor:
        if self.pool == "mean" or self.cls_token is None:
            return self.fc_norm(tokens[:, self.prefix :].mean(1))
        return tokens[:, 0]

    def classify(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits, if the classifier was built; with a distillation token the mean of both classifiers', as in DeiT."""
        if not self.classes:
            raise ValueError("this VisionTransformer has no classifier: build it with classes=")
        if self.head_dist is None:
            return self.head(self.summary(image))
        first, second = self.classify_both(image)
        return (first + second) / 2

    def classify_both(self, image: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]:
        """Logits of the class token and of the distillation token, which learns from a teacher."""
        if self.head_dist is None:
            raise ValueError("this VisionTransformer has no second classifier: build it with distilled=True, classes=")
        tokens = self.tokens(image)
        return self.head(self._summary(tokens)), self.head_dist(tokens[:, 1])

    def weights(
        self, image: Float[Tensor, "b c h w"], query: int | tuple[int, int], *, block: int = -1
    ) -> Float[Tensor, "b heads n"]:
        """Where one token looks in one block, prefix tokens first; the last `y x` entries are the map, row by row.

        A tuple is a position on the grid, an int a token counted from the first: 0 is the class token.
        """
        x, grid = self._embed(image)
        wanted = range(len(self.blocks))[block]
        index = query if isinstance(query, int) else self.prefix + flat_index(query, grid)
        for i in range(wanted):
            x = self._run(i, x, grid)
        layer = self.blocks[wanted]
        assert isinstance(layer, TransformerBlock)
        return layer.weights(x, index, size=grid)


def _row_by_row(
    size: Sequence[int], channels: int, *, device: torch.device | str | None, dtype: torch.dtype
) -> Float[Tensor, "n c"]:
    return sinusoidal(size[0] * size[1], channels, device=device, dtype=dtype)


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


def vit_huge(*, image_size: tuple[int, int] = (224, 224), patch: int = 14, classes: int = 0) -> VisionTransformer:
    """ViT-H. For any other option build `VisionTransformer(SIZES["huge"], ...)`."""
    return VisionTransformer(SIZES["huge"], image_size=image_size, patch=patch, classes=classes)
