"""Context by pooling: every position is told one summary of the whole map.

The global branch of ParseNet (Liu et al., 2015, https://arxiv.org/abs/1506.04579, section 3.1: pool, unpool, join),
with a 1 x 1 convolution before the mean, so that it can count what is there, and one after the join. Every position
receives the same summary: the layer sees everything and cannot look anything up.

Left out: ParseNet's L2 normalisation of both branches; pyramids of pooled grids.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.attention import check_map
from sightline.layers.convolution import make_norm


class GlobalContext(nn.Module):
    """Join each position with the mean over all positions, `[b, c, h, w] -> [b, c, h, w]`.

    Args:
        channels: width of the map.
        norm: "batch", "group" or "none", after the join.
    """

    def __init__(self, channels: int, *, norm: str = "batch") -> None:
        super().__init__()
        self.channels = channels
        self.before = nn.Conv2d(channels, channels, 1)
        self.join = nn.Conv2d(2 * channels, channels, 1)
        self.norm = make_norm(norm, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Summarise, tell everyone, mix."""
        check_map("GlobalContext", x, self.channels, 2)
        summary = F.relu(self.before(x)).mean((2, 3), keepdim=True)
        # The join of position and summary, without writing the summary out at every position.
        of_position, of_summary = self.join.weight.chunk(2, 1)
        joined = F.conv2d(x, of_position, self.join.bias) + F.conv2d(summary, of_summary)
        return F.relu(self.norm(joined))
