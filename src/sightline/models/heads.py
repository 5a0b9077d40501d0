"""From a map to an answer: the plain heads, and a network that classifies.

What every head for masks promises, here and in `ccnet.py`, `non_local_head.py`, `pyramid_head.py`: a map `[b, channels,
y, x]` in, logits `[b, classes, y, x]` on the same map out, and it says its `.channels` and `.classes`. Growing to the
image's size is `segmenter.py`'s. A head may also say its `.features(x)`, of which `.classify(x, features)` makes the
logits: what a loss on features reads.

Left out: decoders that join shallow maps (`models/unet.py` is an encoder), and losses.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm
from sightline.models.encoder import Encoder, summary_of
from sightline.ops.arguments import choose

SLOPE = 0.01  # of the leaky ReLU inside CCNet's published norm


def make_activation(name: str) -> nn.Module:
    """The activation of a head: "relu", or "leaky_relu" as in CCNet's published norm."""
    choose("activation", name, ("leaky_relu", "relu"))
    return nn.LeakyReLU(SLOPE, inplace=True) if name == "leaky_relu" else nn.ReLU(inplace=True)


def quarter(channels: int, inner: int | None) -> int:
    """The inner width of a head: a quarter of the map's channels unless it is given."""
    return max(channels // 4, 1) if inner is None else inner


@runtime_checkable
class FeatureHead(Protocol):
    """A head that says its features: `forward(x)` is `classify(x, features(x))`."""

    def features(self, x: Tensor) -> Tensor:
        """`[b, channels, y, x] -> [b, d, y, x]`."""
        ...

    def classify(self, x: Tensor, features: Tensor) -> Tensor:
        """`[b, channels, y, x], [b, d, y, x] -> [b, classes, y, x]`."""
        ...


class LinearHead(nn.Module):
    """A 1 x 1 convolution: each position answers for itself, `[b, channels, y, x] -> [b, classes, y, x]`."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.convolution = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b k y x"]:
        """Logits on the map."""
        return self.convolution(x)


class ConvolutionHead(nn.Module):
    """A 3 x 3 convolution and a 1 x 1: the head of a fully convolutional network (Long et al., 2015,
    https://arxiv.org/abs/1411.4038), and the auxiliary head of PSPNet and CCNet.

    Its parts are `0` (convolution), `1` (norm), `2` (activation and dropout), `3` (classifier), as in CCNet's code.

    Args:
        channels: width of the map.
        classes: number of classes.
        inner: width between the two; a quarter of the channels where None.
        norm: "batch", "group" or "none".
        activation: "relu", or "leaky_relu" as in CCNet's published norm.
        dropout: probability of dropping a channel before the classifier.
        bias: whether the first convolution has one, as CCNet's auxiliary head.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        inner: int | None = None,
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        width = quarter(channels, inner)
        self.add_module("0", nn.Conv2d(channels, width, 3, padding=1, bias=bias))
        self.add_module("1", make_norm(norm, width))
        self.add_module("2", nn.Sequential(make_activation(activation), nn.Dropout2d(dropout)))
        self.add_module("3", nn.Conv2d(width, classes, 1))

    def forward(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b k y x"]:
        """Logits on the map."""
        for part in self.children():
            x = part(x)
        return x


class ClassHead(nn.Module):
    """The mean over a map and one linear layer: `[b, channels, y, x]` or a summary `[b, channels]` `-> [b,
    classes]`."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: Float[Tensor, "b channels *positions"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.linear(features.flatten(2).mean(2) if features.dim() > 2 else features)


class Classifier(nn.Module):
    """An encoder and a class head: `[b, c, h, w] -> [b, classes]`, from the encoder's summary where it has one."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder, self.classes = encoder, classes
        self.head = ClassHead(encoder.channels, classes)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of every image."""
        return self.head(summary_of(self.encoder, image))
