"""CCNet (Huang et al., 2019, https://arxiv.org/abs/1811.11721, figure 2): recurrent criss-cross attention between two
convolutions, joined with the encoder's map, and a classifier per pixel.

The published code differs from the paper in three points, and this file follows the code: a factor `gamma` on the
attention, a 3 x 3 convolution where the paper has a 1 x 1, and norms with leaky ReLUs in the head. The state dict has
the published names (`head.conva`, `head.cca`, `head.convb`, `head.bottleneck`, `dsn`); `from_published` translates the
rest.

Left out: the category consistent loss, and the in-place norm itself.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm
from sightline.layers.criss_cross import CrissCross, run_passes, weights_of_passes
from sightline.models.encoder import Encoder, maps_of
from sightline.ops.arguments import choose
from sightline.ops.patterns import Pattern, criss_cross, everything

SLOPE = 0.01  # of the leaky ReLU inside the published norm


def _activation(name: str) -> nn.Module:
    choose("activation", name, ("leaky_relu", "relu"))
    return nn.LeakyReLU(SLOPE, inplace=True) if name == "leaky_relu" else nn.ReLU(inplace=True)


class CrissCrossHead(nn.Module):
    """The head of CCNet, "RCCA": `[b, channels, y, x] -> [b, classes, y, x]`.

    Its gamma starts at zero: **the attention of a new head does nothing yet**, the convolutions around it do.

    Args:
        channels: width of the encoder's map.
        classes: number of classes.
        inner: width of the attention; a quarter of the channels where None.
        recurrence: number of passes with the same weights.
        reduction: queries and keys have `inner // reduction` channels.
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
        if recurrence < 1:
            raise ValueError(f"recurrent criss-cross attention needs at least one pass, got recurrence={recurrence}")
        width = max(channels // 4, 1) if inner is None else inner
        self.channels, self.recurrence = channels, recurrence

        def convolution(inputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, width, 3, padding=1, bias=False), make_norm(norm, width)]

        self.conva = nn.Sequential(*convolution(channels), _activation(activation))
        self.cca = CrissCross(width, reduction)
        self.convb = nn.Sequential(*convolution(width), _activation(activation))
        # Activation and dropout share a place, so that the classifier keeps its published number, 3.
        last = nn.Sequential(_activation(activation), nn.Dropout2d(dropout))
        self.bottleneck = nn.Sequential(*convolution(channels + width), last, nn.Conv2d(width, classes, 1))

    @property
    def pattern(self) -> Pattern:
        """Where a position may look in the attention, all passes together."""
        return criss_cross if self.recurrence == 1 else everything

    def forward(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b k y x"]:
        """Logits on the map."""
        out = run_passes([self.cca] * self.recurrence, self.conva(x))
        return self.bottleneck(torch.cat([x, self.convb(out)], 1))

    def weights(
        self, x: Float[Tensor, "b channels y x"], query: tuple[int, int], *, residual: bool = False
    ) -> Float[Tensor, "b y x"]:
        """Where one position looks through all passes, as in `RecurrentCrissCross.weights`."""
        return weights_of_passes([self.cca] * self.recurrence, self.conva(x), query, residual=residual)


class CCNet(nn.Module):
    """An encoder, the criss-cross head and, for training, an auxiliary head on the stage before the last.

    Args:
        encoder: published: `ResNet(101, output_stride=8, stem="deep", dilate_first=True)`.
        classes: number of classes.
        auxiliary_channels: width of the stage before the last, where the auxiliary head `dsn` stands; 0 for none. The
            encoder then needs `.maps`.
        recurrence: as in `CrissCrossHead`, and so are the others.
        inner: as there.
        norm: as there.
        activation: as there.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        *,
        auxiliary_channels: int = 0,
        recurrence: int = 2,
        inner: int | None = None,
        norm: str = "batch",
        activation: str = "leaky_relu",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = CrissCrossHead(
            encoder.channels, classes, inner=inner, recurrence=recurrence, norm=norm, activation=activation
        )
        self.dsn: nn.Module | None = None
        if auxiliary_channels:
            width = max(encoder.channels // 4, 1) if inner is None else inner
            self.dsn = nn.Sequential(
                nn.Conv2d(auxiliary_channels, width, 3, padding=1),  # with a bias, unlike the head, as published
                make_norm(norm, width),
                nn.Sequential(_activation(activation), nn.Dropout2d(0.1)),
                nn.Conv2d(width, classes, 1),
            )

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Logits of every pixel."""
        return _grow(self.head(self.encoder(image)), image)

    def with_auxiliary(self, image: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
        """Logits of every pixel from the head and from the auxiliary head, `[b, classes, h, w]` each."""
        if self.dsn is None:
            raise ValueError("this CCNet has no auxiliary head: build it with auxiliary_channels=")
        *_, before, last = maps_of(self.encoder, image)
        return _grow(self.head(last), image), _grow(self.dsn(before), image)


def _grow(logits: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate a state dict of the published code into one for `CCNet`.

    The backbone's entries move below `encoder.`, a wrapper's `module.` goes, and every norm weight w becomes |w| +
    1e-5: that is what the published in-place norm computes with, whatever sign it stores.
    """
    out = {}
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        norm = name.endswith(".weight") and tensor.dim() == 1  # no other layer has a weight of one axis
        where = name if name.startswith(("head.", "dsn.")) else f"encoder.{name}"
        out[where] = tensor.abs() + 1e-5 if norm else tensor
    return out
