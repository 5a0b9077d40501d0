"""The encoder of the gaze study: a position's surroundings and place, and one class token that looks at all of them.

A convolution of 3 x 3 tells every position what lies next to it (a key beside a lock is no loose key), coordinates tell
where it stands, and the class token collects what it looks at, each of its heads for itself. It is the only way from
the image to the policy, so that nothing that is not looked at is ever read.

Left out: residuals, norms and MLPs of a transformer block, and a second layer, whose gaze would be on mixtures.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.multi_head import MultiHeadAttention
from sightline.layers.positions import CoordinateChannels
from sightline.models.encoder import check_image

FLOOR, CONTRAST = 0.8, 4.0  # the floor's brightness becomes nothing, so that things stand out from the beginning
SHARP = 6.0  # of queries and keys at the start: heads that look at everything alike pass on nothing to learn from


class Looking(nn.Module):
    """`[b, c, h, w]`, one position for each pixel; `summary` is what the class token took, `[b, channels]`.

    Args:
        image_channels: of the image.
        width: of a token.
        heads: looks of the class token.
    """

    stride = 1

    def __init__(self, image_channels: int = 3, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.image_channels, self.channels = image_channels, width
        self.stem = nn.Conv2d(image_channels, width, 3, padding=1)
        self.coordinates = CoordinateChannels()
        self.join = nn.Conv2d(width + 2, width, 1)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.attention = MultiHeadAttention(width, heads)
        with torch.no_grad():
            self.attention.qkv.weight[: 2 * width] *= SHARP

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels h w"]:
        """What every position took."""
        size = tuple(image.shape[2:])
        return self.attention(self._tokens(image), size=size)[:, 1:].mT.unflatten(2, size)

    def summary(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels"]:
        """What the class token took."""
        tokens = self._tokens(image)
        if self.training:
            return self._class_row(tokens)
        return self.attention(tokens, size=tuple(image.shape[2:]))[:, 0]

    def _tokens(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n channels"]:
        """The class token and every position's, before anyone looks."""
        check_image("Looking", image, self.image_channels)
        x = self.join(self.coordinates(self.stem((image - FLOOR) * CONTRAST).relu())).relu()
        return torch.cat([self.class_token.expand(len(x), -1, -1), x.flatten(2).mT], 1)

    def _class_row(self, tokens: Float[Tensor, "b n channels"]) -> Float[Tensor, "b channels"]:
        """The attention's first row alone, a few times faster: keys and values are never laid out."""
        heads = self.attention.heads
        (wq, wk, wv), (bq, _, bv) = self.attention.qkv.weight.chunk(3), self.attention.qkv.bias.chunk(3)
        query = (self.class_token[0, 0] @ wq.T + bq).unflatten(0, (heads, -1))
        asked = torch.einsum("hd,hdc->hc", query, wk.unflatten(0, (heads, -1)))  # the key's bias moves all scores alike
        weights = (tokens @ asked.T * query.shape[1] ** -0.5).softmax(1)
        taken = torch.einsum("bnh,bnc->bhc", weights, tokens)
        values = torch.einsum("bhc,hdc->bhd", taken, wv.unflatten(0, (heads, -1))).flatten(1) + bv
        return self.attention.proj(values)
