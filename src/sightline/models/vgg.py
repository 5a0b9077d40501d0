"""VGG (Simonyan and Zisserman, 2015, https://arxiv.org/abs/1409.1556, table 1) as an encoder: nothing but 3 x 3
convolutions and poolings, the network whose filters and features most pictures show.

Names are torchvision's (`features.i`, `classifier.i`), and its weights load, with batch norms or without.

Left out: configuration C with its 1 x 1 convolutions, and local response normalisation.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm
from sightline.models.encoder import check_image
from sightline.ops.arguments import choose

COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions of a stage


class VGG(nn.Module):
    """VGG up to its last convolution, `[b, c, h, w] -> [b, 512, h / 16, w / 16]`, any size from 16 x 16.

    The last pooling belongs to the classifier: without it the map keeps its positions.

    Args:
        depth: 11, 13, 16 or 19, layers with weights; configurations A, B, D and E of the paper.
        image_channels: channels of the image.
        width: channels of the first stage, 64 in the paper; the others have 2, 4, 8 and 8 times as many.
        norm: "none" as in the paper, or "batch".
        classes: outputs of the classifier; 0 leaves it out (the weights of `classifier.*` then do not load).

    Raises:
        ValueError: a depth or norm that there is not.
    """

    stride = 16

    def __init__(
        self, depth: int = 16, *, image_channels: int = 3, width: int = 64, norm: str = "none", classes: int = 0
    ) -> None:
        super().__init__()
        if depth not in COUNTS:
            raise ValueError(f"there is no VGG of depth {depth}: it is one of {', '.join(map(str, COUNTS))}")
        choose("norm", norm, ("none", "batch"))
        self.image_channels, self.classes, self.channels = image_channels, classes, 8 * width
        layers: list[nn.Module] = []
        self.ends: list[int] = []  # of the stages: where `features` pools
        inputs = image_channels
        for stage, count in enumerate(COUNTS[depth]):
            for _ in range(count):
                outputs = width * min(2**stage, 8)
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                layers += [make_norm(norm, outputs)] if norm != "none" else []
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
            self.ends.append(len(layers))
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier: nn.Module = nn.Identity()
        if classes:
            self.classifier = nn.Sequential(
                nn.Linear(self.channels * 7 * 7, 64 * width), nn.ReLU(inplace=True), nn.Dropout(),
                nn.Linear(64 * width, 64 * width), nn.ReLU(inplace=True), nn.Dropout(),
                nn.Linear(64 * width, classes),
            )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _check(self, image: Tensor, smallest: int) -> None:
        check_image("VGG", image, self.image_channels)
        if min(image.shape[2:]) < smallest:
            raise ValueError(
                f"VGG pools {image.shape[2]} x {image.shape[3]} pixels to nothing: give {smallest} or more"
            )

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The maps of the five stages, each before its pooling."""
        self._check(image, self.stride)
        x, out, begin = image, [], 0
        for end in self.ends:
            x = self.features[begin:end](x)
            out.append(x)
            begin = end
        return out

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map of the last convolution."""
        return self.maps(image)[-1]

    def classify(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of the classifier, if it was built; it pools once more, so that an image has 32 x 32 or more."""
        if not self.classes:
            raise ValueError("this VGG has no classifier: build it with classes=")
        self._check(image, 2 * self.stride)
        return self.classifier(torch.flatten(self.avgpool(self.features[-1](self.forward(image))), 1))
