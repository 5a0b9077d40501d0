"""The ten networks of the long-range study: one stem, one head, one width, and between them the context, which differs.

image [b, 3, h, w] -> stem -> map [b, width, y, x] -> context -> head -> logits of every map position, which answers
for its 8 x 8 pixels. The stem reads patches of one cell (as the Vision Transformer does) and the head works on each
position alone, so that information travels between cells through the context only, and a field is that of the context.

Norms are batch norms and norms over channels. A group norm, which averages over positions, would join every position
with every other in a way that no picture of the layer shows; in evaluation mode neither of these does. The Vision
Transformer makes its own tokens, and it alone is told positions.

The attention layers' learned factor starts at one, and the non-local block's last norm as any other: the published
layers start at zero, for insertion into trained networks, and these train from scratch. Left out: any choice made for
one network alone.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import conv_norm
from sightline.layers.criss_cross import RecurrentCrissCross
from sightline.layers.non_local import NonLocal
from sightline.layers.pooling import GlobalContext
from sightline.models.unet import UNet
from sightline.models.vit import Size, VisionTransformer
from sightline.ops.arguments import choose
from sightline.vision.built_in.canvases import CELL

STRIDE = CELL  # one position of the map for each cell of the canvas
WIDTH = 64
VIT_DEPTH, VIT_HEADS, VIT_MLP_RATIO = 4, 4, 2.0


class AttentionContext(nn.Module):
    """A published attention layer with its residual, and the norm after it."""

    def __init__(self, layer: RecurrentCrissCross | NonLocal, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Look around, then normalise."""
        return self.norm(self.layer(x))


def _criss_cross(passes: int) -> Callable[[int], nn.Module]:
    return lambda width: AttentionContext(RecurrentCrissCross(width, passes, reduction=2, gamma=1.0), width)


def _convolutions(width: int, dilations: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(*(conv_norm(width, width, dilation=dilation) for dilation in dilations))


def _pointwise(width: int) -> nn.Module:
    return conv_norm(width, width, kernel=1)


WITHOUT = "criss-cross R=0"  # no pass at all: stem and head, each position alone
CONTEXTS: dict[str, Callable[[int], nn.Module]] = {
    "shallow convolutions": lambda width: _convolutions(width, (1,)),
    "deep convolutions": lambda width: _convolutions(width, (1,) * 8),
    "dilated convolutions": lambda width: _convolutions(width, (1, 2, 4)),
    "U-Net": lambda width: UNet(width, width, levels=3),
    "global average pooling": lambda width: nn.Sequential(GlobalContext(width), GlobalContext(width)),
    WITHOUT: nn.BatchNorm2d,
    "criss-cross R=1": _criss_cross(1),
    "criss-cross R=2": _criss_cross(2),
    "criss-cross R=3": _criss_cross(3),
    "non-local": lambda width: AttentionContext(NonLocal(width, zero_initialised=False), width),
}
VIT = "Vision Transformer"
KNOWN = (*CONTEXTS, VIT)
NETWORKS = tuple(name for name in KNOWN if name != WITHOUT)


class RecallNetwork(nn.Module):
    """Image in, logits of every pixel out: `[b, 3, h, w] -> [b, classes, h, w]`, h and w multiples of 8.

    Args:
        network: one of `KNOWN`: the study's ten, and criss-cross attention without any pass.
        classes: number of answers.
        width: channels of every map.
        size: of the images, in pixels; the Vision Transformer's table of positions is made for it.

    Raises:
        ValueError: an unknown network.
    """

    def __init__(
        self, network: str, classes: int = 10, *, width: int = WIDTH, size: tuple[int, int] = (12 * CELL, 12 * CELL)
    ) -> None:
        super().__init__()
        self.network, self.width = choose("network", network, KNOWN), width
        if network == VIT:
            # Everything of it is in `context`: its tokens are made by it, and it ends with its own norm.
            self.stem: nn.Module = nn.Identity()
            self.context: nn.Module = VisionTransformer(
                Size(width, VIT_DEPTH, VIT_HEADS),
                image_size=size,
                patch=STRIDE,
                class_token=False,
                mlp_ratio=VIT_MLP_RATIO,
            )
            self.head: nn.Module = nn.Conv2d(width, classes, 1)
        else:
            self.stem = nn.Sequential(
                nn.Conv2d(3, width, CELL, CELL, bias=False), nn.BatchNorm2d(width), nn.ReLU(), _pointwise(width)
            )
            self.context = CONTEXTS[network](width)
            self.head = nn.Sequential(_pointwise(width), nn.Conv2d(width, classes, 1))

    def answers(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes y x"]:
        """Logits of every map position."""
        return self.head(self.context(self.stem(image)))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        """Logits of every pixel: those of the map position that it belongs to."""
        return torch.repeat_interleave(torch.repeat_interleave(self.answers(image), STRIDE, 2), STRIDE, 3)

    def looks(self, image: Float[Tensor, "b 3 h w"], query: tuple[int, int]) -> Float[Tensor, "b y x"] | None:
        """Where a map position looks in the last attention: heads averaged, criss-cross passes composed.

        None where the network has no attention. The convolutions before and after blur this by their own field.
        """
        if isinstance(self.context, VisionTransformer):
            weights = self.context.weights(image, query).mean(1)
            return weights.unflatten(1, (image.shape[2] // STRIDE, image.shape[3] // STRIDE))
        if isinstance(self.context, AttentionContext):
            return self.context.layer.weights(self.stem(image), query)
        return None


def in_channels_last(network: RecallNetwork) -> RecallNetwork:
    """The network, its convolutions laid out for images in `channels_last`, in which they are faster."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
