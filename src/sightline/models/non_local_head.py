"""A head with a non-local block (Wang et al., 2018, https://arxiv.org/abs/1711.07971) between the convolutions of
CCNet's head, so that the two kinds of attention can be compared under one roof.

Left out: a state dict of published names; mmsegmentation's non-local head has others.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm
from sightline.layers.non_local import NonLocal
from sightline.models.heads import make_activation, quarter
from sightline.ops.patterns import Pattern


class NonLocalHead(nn.Module):
    """A convolution, a non-local block, a convolution, joined with the map, and a classifier.

    `[b, channels, y, x] -> [b, classes, y, x]`. The block begins as the identity, so that **the attention of a new head
    does nothing yet**.

    Args:
        channels: width of the map.
        classes: number of classes.
        inner: width of the attention; a quarter of the channels where None.
        pairwise: as in `layers.non_local.NonLocal`, and so are the next two.
        subsample: as there.
        zero_initialised: as there.
        norm: "batch", "group" or "none"; the block itself has a batch norm or none.
        activation: "relu" or "leaky_relu".
        dropout: probability of dropping a channel before the classifier.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        inner: int | None = None,
        pairwise: str = "embedded_gaussian",
        subsample: int = 1,
        zero_initialised: bool = True,
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        width = quarter(channels, inner)
        self.channels, self.classes = channels, classes

        def convolution(inputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, width, 3, padding=1, bias=False), make_norm(norm, width)]

        self.conva = nn.Sequential(*convolution(channels), make_activation(activation))
        self.non_local = NonLocal(
            width,
            pairwise,
            subsample=subsample,
            norm="batch" if norm == "batch" else "none",
            zero_initialised=zero_initialised,
        )
        self.convb = nn.Sequential(*convolution(width), make_activation(activation))
        last = nn.Sequential(make_activation(activation), nn.Dropout2d(dropout))
        self.bottleneck = nn.Sequential(*convolution(channels + width), last, nn.Conv2d(width, classes, 1))

    @property
    def pattern(self) -> Pattern:
        """Where a position may look in the attention."""
        return self.non_local.pattern

    def features(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b inner y x"]:
        """What the non-local block returns."""
        return self.non_local(self.conva(x))

    def classify(
        self, x: Float[Tensor, "b channels y x"], features: Float[Tensor, "b inner y x"]
    ) -> Float[Tensor, "b k y x"]:
        """Logits from the encoder's map and the features."""
        return self.bottleneck(torch.cat([x, self.convb(features)], 1))

    def forward(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b k y x"]:
        """Logits on the map."""
        return self.classify(x, self.features(x))

    def weights(self, x: Float[Tensor, "b channels y x"], query: tuple[int, int]) -> Float[Tensor, "b *keys"]:
        """Where one position looks, on the grid of the keys, as in `NonLocal.weights`."""
        return self.non_local.weights(self.conva(x), query)
