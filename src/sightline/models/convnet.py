"""Plain convolutional encoders: a stack of equal convolutions, and AlexNet.

`ConvNet` is a strided stem and then one convolution per entry of `dilations`, all of one width (the dilated stack is
the context module of Yu and Koltun, 2016, https://arxiv.org/abs/1511.07122, table 1, in spirit). How far it sees is
known exactly: every convolution adds its kernel's reach times its dilation. `AlexNet` is the single-column network of
Krizhevsky, 2014, https://arxiv.org/abs/1404.5997, with torchvision's layout and names, so that its weights load.

Left out: local response normalisation, and the two columns of 2012.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import conv_norm
from sightline.models.encoder import check_image


def make_stem(image_channels: int, width: int, stride: int, *, norm: str = "batch") -> nn.Sequential:
    """Image to map: for every halving one strided and one plain convolution; the first pair begins at half the width.

    Raises:
        ValueError: the stride is no power of two.
    """
    if stride < 1 or stride & (stride - 1):
        raise ValueError(f"a stem halves the size some number of times: its stride is a power of two, got {stride}")
    levels: list[nn.Module] = []
    inputs = image_channels
    if stride == 1:
        return nn.Sequential(conv_norm(image_channels, width, norm=norm))
    for level in range(stride.bit_length() - 1):
        narrow = max(width // 2, 1) if level == 0 else width
        levels.append(
            nn.Sequential(conv_norm(inputs, narrow, stride=2, norm=norm), conv_norm(narrow, width, norm=norm))
        )
        inputs = width
    return nn.Sequential(*levels)


class ConvNet(nn.Module):
    """A stem and a stack of equal convolutions, `[b, c, h, w] -> [b, width, h / stride, w / stride]`, any size.

    Args:
        image_channels: channels of the image, or of a map where `stride` is 1.
        width: channels of every convolution.
        dilations: one convolution of the stack per entry; `(1,) * 8` is deep, `(1, 2, 4, 8)` is dilated.
        kernel: odd kernel size of the stack.
        stride: of the stem, a power of two.
        norm: "batch", "group" or "none".
    """

    def __init__(
        self,
        image_channels: int = 3,
        width: int = 64,
        *,
        dilations: Sequence[int] = (1, 1, 1, 1),
        kernel: int = 3,
        stride: int = 4,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.image_channels, self.channels, self.stride = image_channels, width, stride
        self.stem = make_stem(image_channels, width, stride, norm=norm)
        self.stack = nn.Sequential(
            *(conv_norm(width, width, kernel=kernel, dilation=dilation, norm=norm) for dilation in dilations)
        )

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map after the whole stack."""
        check_image("ConvNet", image, self.image_channels)
        return self.stack(self.stem(image))

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """One map per level of the stem, and the last."""
        check_image("ConvNet", image, self.image_channels)
        stages = [image]
        for level in self.stem:
            stages.append(level(stages[-1]))
        return [*stages[1:], self.stack(stages[-1])]


class AlexNet(nn.Module):
    """AlexNet, as an encoder `[b, c, h, w] -> [b, 256, y, x]` up to its fifth convolution, stride 16.

    The last pooling belongs to the classifier: without it the map keeps its positions. Neither the first convolution
    nor the poolings are padded to keep the size, so that the map is one position smaller than h / 16.

    Args:
        image_channels: channels of the image.
        classes: outputs of the classifier; 0 leaves it out (the weights of `classifier.*` then do not load).
    """

    channels, stride = 256, 16
    smallest = 63  # of an image: one position is left after the last pooling

    def __init__(self, image_channels: int = 3, classes: int = 0) -> None:
        super().__init__()
        self.image_channels = image_channels
        self.features = nn.Sequential(
            nn.Conv2d(image_channels, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier: nn.Module = nn.Identity()
        if classes:
            self.classifier = nn.Sequential(
                nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
                nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
                nn.Linear(4096, classes),
            )  # fmt: skip
        self.classes = classes

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map of the fifth convolution."""
        self._check(image)
        return self.features[:-1](image)

    def _check(self, image: Tensor) -> None:
        check_image("AlexNet", image, self.image_channels)
        if min(image.shape[2:]) < self.smallest:
            raise ValueError(
                f"AlexNet pools {image.shape[2]} x {image.shape[3]} pixels to nothing: give {self.smallest} or more"
            )

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The maps of the first, second and fifth convolution, each before its pooling."""
        self._check(image)
        first = self.features[:2](image)
        second = self.features[2:5](first)
        return [first, second, self.features[5:-1](second)]

    def classify(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of the classifier, if it was built."""
        if not self.classes:
            raise ValueError("this AlexNet has no classifier: build it with classes=")
        pooled = self.avgpool(self.features[-1](self.forward(image)))
        return self.classifier(torch.flatten(pooled, 1))
