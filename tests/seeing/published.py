"""The networks of published receptive-field tables, written here from plain PyTorch layers as TF-Slim lays them out.

Sizes, strides and paddings are those of
https://github.com/google-research/receptive_field/blob/master/receptive_field/RECEPTIVE_FIELD_TABLE.md (Araujo et al.,
2019, https://distill.pub/2019/computing-receptive-fields/). Two things differ from the usual PyTorch networks: a
TF-Slim ResNet strides in the *last* unit of a block, and 'SAME' padding depends on the size of the image, so the
padding in the table does too.

Channels are few, which no receptive field depends on. Left out: the Inception networks.
"""

import torch.nn.functional as F
from torch import Tensor, nn

Row = tuple[str, int, int, int]  # layer, size, stride, padding

ALEXNET: list[Row] = [
    ("conv1", 11, 4, 0),
    ("pool1", 19, 8, 0),
    ("conv2", 51, 8, 16),
    ("conv3", 99, 16, 32),
    ("conv4", 131, 16, 48),
    ("conv5", 163, 16, 64),
    ("pool5", 195, 32, 64),
]
VGG_A: list[Row] = [
    ("conv1_1", 3, 1, 1),
    ("pool1", 4, 2, 1),
    ("conv2_1", 8, 2, 3),
    ("pool2", 10, 4, 3),
    ("conv3_1", 18, 4, 7),
    ("conv3_2", 26, 4, 11),
    ("pool3", 30, 8, 11),
    ("conv4_1", 46, 8, 19),
    ("conv4_2", 62, 8, 27),
    ("pool4", 70, 16, 27),
    ("conv5_1", 102, 16, 43),
    ("conv5_2", 134, 16, 59),
    ("pool5", 150, 32, 59),
]
VGG_16: list[Row] = [
    ("conv1_1", 3, 1, 1),
    ("pool1", 6, 2, 2),
    ("conv2_1", 10, 2, 4),
    ("pool2", 16, 4, 6),
    ("conv3_1", 24, 4, 10),
    ("conv3_2", 32, 4, 14),
    ("pool3", 44, 8, 18),
    ("conv4_1", 60, 8, 26),
    ("conv4_2", 76, 8, 34),
    ("pool4", 100, 16, 42),
    ("conv5_1", 132, 16, 58),
    ("conv5_2", 164, 16, 74),
    ("pool5", 212, 32, 90),
]
SLIM_RESNETS: dict[int, list[Row]] = {  # paddings at 224; at 321 each is larger by 2
    50: [("block1", 35, 8, 15), ("block2", 99, 16, 47), ("block3", 291, 32, 143), ("block4", 483, 32, 239)],
    101: [("block1", 35, 8, 15), ("block2", 99, 16, 47), ("block3", 835, 32, 415), ("block4", 1027, 32, 511)],
    152: [("block1", 35, 8, 15), ("block2", 163, 16, 79), ("block3", 1315, 32, 655), ("block4", 1507, 32, 751)],
    200: [("block1", 35, 8, 15), ("block2", 419, 16, 207), ("block3", 1571, 32, 783), ("block4", 1763, 32, 879)],
}
TORCHVISION_SIZES: dict[int, tuple[int, int, int, int]] = {  # layer1 to layer4
    18: (43, 99, 211, 435),
    34: (59, 179, 547, 899),
    50: (35, 91, 267, 427),
    101: (35, 91, 811, 971),
}
TORCHVISION_ROWS: dict[int, list[Row]] = {50: [("layer3", 267, 16, 133), ("layer4", 427, 32, 213)]}
_MOBILENET_SIZES = (3, 7, 11, 19, 27, 43, 59, 91, 123, 155, 187, 219, 251, 315)
_MOBILENET_STRIDES = (2, 2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)
_MOBILENET_PADDINGS = {
    224: (0, 2, 2, 6, 6, 14, 14, 30, 46, 62, 78, 94, 94, 126),
    321: (1, 3, 5, 9, 13, 21, 29, 45, 61, 77, 93, 109, 125, 157),
}


def mobilenet_rows(side: int) -> list[Row]:
    """The rows of mobilenet_v1 at 224 or 321."""
    names = ["Conv2d_0", *(f"Conv2d_{n}_pointwise" for n in range(1, 14))]
    return list(zip(names, _MOBILENET_SIZES, _MOBILENET_STRIDES, _MOBILENET_PADDINGS[side], strict=True))


class Same(nn.Module):
    """A convolution or pooling with TensorFlow's 'SAME' padding: as much as the output size ceil(n / stride) needs, the
    odd one at the end; pooling pads with minus infinity.
    """

    def __init__(self, layer: nn.Conv2d | nn.MaxPool2d, kernel: int, stride: int) -> None:
        super().__init__()
        self.layer, self.kernel, self.stride = layer, kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for size in (x.shape[3], x.shape[2]):
            needed = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            sides += [needed // 2, needed - needed // 2]
        fill = float("-inf") if isinstance(self.layer, nn.MaxPool2d) else 0.0
        return self.layer(F.pad(x, sides, value=fill))


def same_convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Same:
    """'SAME' for any size."""
    return Same(nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False), kernel, stride)


def fixed_convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """TF-Slim's `conv2d_same`: padded by a number that does not depend on the image where it strides."""
    if stride == 1:
        return same_convolution(inputs, outputs, kernel)
    before = (kernel - 1) // 2
    pad = nn.ZeroPad2d((before, kernel - 1 - before, before, kernel - 1 - before))
    return nn.Sequential(pad, nn.Conv2d(inputs, outputs, kernel, stride, bias=False))


class SlimUnit(nn.Module):
    """A bottleneck; its shortcut is sub-sampled by a pooling of one pixel."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1)
        self.conv2 = fixed_convolution(width, width, 3, stride)
        self.conv3 = nn.Conv2d(width, 2 * width, 1)
        if inputs == 2 * width:
            self.shortcut: nn.Module = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        else:
            self.shortcut = nn.Conv2d(inputs, 2 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))))


def slim_resnet(depth: int, width: int = 2) -> nn.Sequential:
    """resnet_v1_50, 101, 152 or 200 of TF-Slim: blocks 1 to 3 stride in their last unit, block 4 does not."""
    counts = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}[depth]
    network = nn.Sequential()
    network.add_module("conv1", fixed_convolution(3, width, 7, 2))
    network.add_module("pool1", Same(nn.MaxPool2d(3, 2), 3, 2))
    inputs = width
    for block, count in enumerate(counts):
        units = []
        for unit in range(count):
            units.append(SlimUnit(inputs, width, 2 if unit == count - 1 and block < 3 else 1))
            inputs = 2 * width
        network.add_module(f"block{block + 1}", nn.Sequential(*units))
    return network


def alexnet(width: int = 2) -> nn.Sequential:
    """alexnet_v2: 'VALID' in the first convolution and in the poolings."""
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, width, 11, 4))
    network.add_module("pool1", nn.MaxPool2d(3, 2))
    network.add_module("conv2", nn.Conv2d(width, width, 5, padding=2))
    network.add_module("pool2", nn.MaxPool2d(3, 2))
    for n in (3, 4, 5):
        network.add_module(f"conv{n}", nn.Conv2d(width, width, 3, padding=1))
    network.add_module("pool5", nn.MaxPool2d(3, 2))
    return network


def vgg(counts: tuple[int, ...], width: int = 2) -> nn.Sequential:
    """vgg_a (1, 1, 2, 2, 2) or vgg_16 (2, 2, 3, 3, 3)."""
    network, inputs = nn.Sequential(), 3
    for block, count in enumerate(counts, 1):
        for n in range(1, count + 1):
            network.add_module(f"conv{block}_{n}", nn.Conv2d(inputs, width, 3, padding=1))
            network.add_module(f"relu{block}_{n}", nn.ReLU(inplace=True))
            inputs = width
        network.add_module(f"pool{block}", nn.MaxPool2d(2, 2))
    return network


def mobilenet(width: int = 2) -> nn.Sequential:
    """mobilenet_v1: depthwise and pointwise in turn, 'SAME' throughout."""
    network = nn.Sequential()
    network.add_module("Conv2d_0", same_convolution(3, width, 3, 2))
    for n, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1), 1):
        network.add_module(f"Conv2d_{n}_depthwise", same_convolution(width, width, 3, stride, groups=width))
        network.add_module(f"Conv2d_{n}_pointwise", nn.Conv2d(width, width, 1))
    return network
