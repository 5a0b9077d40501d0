"""CCNet (Huang et al., 2019, https://arxiv.org/abs/1811.11721, figure 2): recurrent criss-cross attention between two
convolutions, joined with the encoder's map, and a classifier per pixel.

The published code differs from the paper in three points, and this file follows the code: a factor `gamma` on the
attention, a 3 x 3 convolution where the paper has a 1 x 1, and norms with leaky ReLUs in the head. The state dict has
the published names inside the head (`conva`, `cca`, `convb`, `bottleneck`); `weights.py` loads published files.

Left out: the category-consistent loss (`vision/measures/category_consistent.py`), and the in-place norm itself.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm
from sightline.layers.criss_cross import CrissCross, run_passes, weights_of_passes
from sightline.models.encoder import Encoder, map_widths
from sightline.models.heads import ConvolutionHead, make_activation, quarter
from sightline.models.segmenter import Segmenter
from sightline.ops.patterns import Pattern, criss_cross, everything, window


class CrissCrossHead(nn.Module):
    """The head of CCNet, "RCCA": `[b, channels, y, x] -> [b, classes, y, x]`.

    Its gamma starts at zero: **the attention of a new head does nothing yet**, the convolutions around it do.

    Args:
        channels: width of the encoder's map.
        classes: number of classes.
        inner: width of the attention; a quarter of the channels where None.
        recurrence: number of passes with the same weights; 0 leaves the attention out and keeps the convolutions.
        reduction: queries and keys have `inner // reduction` channels, one at least.
        norm: "batch", "group" or "none".
        activation: "leaky_relu", as in the published code's norm, or "relu", as in other ports.
        dropout: probability of dropping a channel before the classifier.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        inner: int | None = None,
        recurrence: int = 2,
        reduction: int = 8,
        norm: str = "batch",
        activation: str = "leaky_relu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if recurrence < 0:
            raise ValueError(
                f"recurrent criss-cross attention has a number of passes, 0 for none, got recurrence={recurrence}"
            )
        width = quarter(channels, inner)
        self.channels, self.classes, self.recurrence = channels, classes, recurrence

        def convolution(inputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, width, 3, padding=1, bias=False), make_norm(norm, width)]

        self.conva = nn.Sequential(*convolution(channels), make_activation(activation))
        self.cca = CrissCross(width, min(reduction, width)) if recurrence else None
        self.convb = nn.Sequential(*convolution(width), make_activation(activation))
        # Activation and dropout share a place, so that the classifier keeps its published number, 3.
        last = nn.Sequential(make_activation(activation), nn.Dropout2d(dropout))
        self.bottleneck = nn.Sequential(*convolution(channels + width), last, nn.Conv2d(width, classes, 1))

    @property
    def passes(self) -> list[CrissCross]:
        """The attention layers in the order in which they are run: one layer, `recurrence` times."""
        return [] if self.cca is None else [self.cca] * self.recurrence

    @property
    def pattern(self) -> Pattern:
        """Where a position may look in the attention, all passes together."""
        return {0: window(1), 1: criss_cross}.get(self.recurrence, everything)

    def features(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b inner y x"]:
        """What the last pass returns."""
        return run_passes(self.passes, self.conva(x))

    def classify(
        self, x: Float[Tensor, "b channels y x"], features: Float[Tensor, "b inner y x"]
    ) -> Float[Tensor, "b k y x"]:
        """Logits from the encoder's map and the features."""
        return self.bottleneck(torch.cat([x, self.convb(features)], 1))

    def forward(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b k y x"]:
        """Logits on the map."""
        return self.classify(x, self.features(x))

    def weights(
        self, x: Float[Tensor, "b channels y x"], query: tuple[int, int], *, residual: bool = False
    ) -> Float[Tensor, "b y x"]:
        """Where one position looks through all passes, as in `RecurrentCrissCross.weights`.

        Raises:
            ValueError: the head was built with no pass.
        """
        if not self.passes:
            raise ValueError("this head was built with recurrence=0: it has no attention that could look anywhere")
        return weights_of_passes(self.passes, self.conva(x), query, residual=residual)


def ccnet(
    encoder: Encoder,
    classes: int,
    *,
    auxiliary: bool = True,
    recurrence: int = 2,
    inner: int | None = None,
    norm: str = "batch",
    activation: str = "leaky_relu",
) -> Segmenter:
    """CCNet as published: the criss-cross head, an auxiliary head on the stage before the last, corners on corners.

    Args:
        encoder: published: `ResNet(101, output_stride=8, stem="deep", dilate_first=True)`.
        classes: number of classes.
        auxiliary: whether the auxiliary head is there; the encoder then needs `.maps` with two stages or more.
        recurrence: as in `CrissCrossHead`, and so are the others; they hold for both heads.
        inner: as there.
        norm: as there.
        activation: as there.

    Raises:
        ValueError: an auxiliary head on an encoder of one map; what `CrissCrossHead` raises.
    """
    width = quarter(encoder.channels, inner)
    head = CrissCrossHead(
        encoder.channels, classes, inner=width, recurrence=recurrence, norm=norm, activation=activation
    )
    other = None
    if auxiliary:
        assert isinstance(encoder, nn.Module)
        widths = map_widths(encoder, getattr(encoder, "image_channels", 3))
        if len(widths) < 2:
            raise ValueError(
                f"CCNet's auxiliary head stands on the stage before the last, and {type(encoder).__name__} has one map"
                " alone: leave it out (auxiliary=False), or give the encoder a method `maps`"
            )
        other = ConvolutionHead(
            widths[-2],
            classes,
            inner=width,
            norm=norm,
            activation=activation,
            bias=True,
        )
    return Segmenter(encoder, head, auxiliary=other, align_corners=True)
