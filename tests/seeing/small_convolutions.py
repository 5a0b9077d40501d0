"""Small networks for the receptive-field tests: convolution, pooling, resizing, norms, branches."""

import torch
import torch.nn.functional as F
from tests.seeing.small_cases import Both, Case, steps
from torch import Tensor, nn


def conv(inputs: int = 3, outputs: int = 4, kernel: int | tuple[int, int] = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **options)  # type: ignore[arg-type]


def resize(mode: str, size: tuple[int, int] | None = None, **options: object) -> nn.Sequential:
    return steps(
        conv(),
        lambda x: F.interpolate(x, size, mode=mode, **options),  # type: ignore[arg-type]
        conv(4, 3, 2),
    )


def padded(mode: str) -> nn.Sequential:
    return steps(conv(3, 4, 2), lambda x: F.pad(x, (3, 1, 0, 2), mode=mode), conv(4, 4, 3), nn.Tanh(), conv(4, 3, 2))


def end_cut(one: Tensor, other: Tensor) -> Tensor:
    """Cropped to the smaller map at the end: branches whose centres do not meet."""
    h, w = (min(a, b) for a, b in zip(one.shape[2:], other.shape[2:], strict=True))
    return one[:, :, :h, :w] + other[:, :, :h, :w]


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = steps(nn.AdaptiveAvgPool2d(1), conv(channels, 2, 1), nn.SiLU(), conv(2, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class SmallUNet(nn.Module):
    """Down, up by a transposed convolution, joined, up by a bilinear resize."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = conv(3, 4, (3, 5), padding=(1, 2)), conv(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.last = conv(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.down(x))
        return self.last(torch.cat([fine, self.up(self.deep(F.max_pool2d(fine, 2)))], 1))


class Shuffled(nn.Module):
    """Grouped, shuffled, depthwise; of the last, half the channels are read, which see half of the groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shuffle = conv(4, 8, 3, groups=4), nn.ChannelShuffle(4)
        self.depthwise, self.last = conv(8, 8, (1, 3), groups=8, stride=2), conv(8, 4, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x.roll(4, 3)], 1)[:, :4]
        return self.last(self.depthwise(F.relu(self.shuffle(self.first(x)))))[:, 2:]


class HalfOfTheGroups(nn.Module):
    """The first group sees the map, the second the map turned round: which pixels depends on the channel."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = conv(4, 4, 3, groups=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.grouped(torch.cat([x, x.flip(2, 3)], 1)[:, 1:5])[:, :2]


class MaskedConvolution(nn.Module):
    """PixelCNN's: the taps from the centre on are multiplied by zero (van den Oord et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, *, sees_centre: bool) -> None:
        super().__init__()
        self.inner = conv(inputs, outputs, 5, padding=2)
        mask = torch.ones(5, 5)
        mask[2, 2 + sees_centre :] = 0
        mask[3:] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.inner.weight * self.mask, self.inner.bias, padding=2)


def dead_taps() -> nn.Module:
    network = steps(conv(3, 4, 3, padding=1), conv(4, 3, 3))
    with torch.no_grad():
        network[0].weight[:, :, 0] = 0
        network[1].weight[:, :, 1, 1] = 0
        network[1].weight[:, 1:] = 0
    return network


def stripes(x: Tensor) -> Tensor:
    """Frames of three, as a 3-D convolution takes them: [b, 4, y, x] -> [b, 1, 4, y, x]."""
    return x[:, None]


CONVOLUTIONS = {
    "kernels that are not square, strides": Case(
        lambda: steps(conv(3, 4, (3, 5), stride=(2, 1), padding=(1, 2)), nn.ReLU(), conv(4, 3, (1, 4), stride=(1, 2)))
    ),
    "holes": Case(
        lambda: steps(conv(3, 4, 3, dilation=2, padding=2), conv(4, 3, 3, dilation=(3, 1), padding=(3, 0))), (13, 10)
    ),
    "kernel of even size, padding 'same'": Case(lambda: steps(conv(3, 4, 4, padding="same"), conv(4, 3, (2, 3)))),
    "padding with a constant on one side": Case(lambda: padded("constant")),
    "reflection": Case(lambda: padded("reflect")),
    "replication": Case(lambda: padded("replicate")),
    "round the edge": Case(lambda: padded("circular")),
    "a convolution that pads by itself": Case(lambda: steps(conv(3, 4, 3, padding=(1, 2), padding_mode="circular"))),
    "cropping by negative padding": Case(lambda: steps(conv(), lambda x: F.pad(x, (-1, 2, 1, -2)), conv(4, 3, 2))),
    "max pooling with holes, rounded up": Case(
        lambda: steps(conv(3, 4, 2), nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True), conv(4, 3, 1)), (12, 11)
    ),
    "average pooling, rounded up": Case(
        lambda: steps(
            nn.AvgPool2d((2, 3), (2, 1), (1, 1), ceil_mode=True, count_include_pad=False), conv(3, 3, 2), nn.Tanh()
        )
    ),
    "adaptive average": Case(lambda: steps(conv(3, 4, 2), nn.AdaptiveAvgPool2d((4, 5)), conv(4, 3, 1)), (12, 8)),
    "adaptive maximum": Case(lambda: steps(conv(3, 4, 2), nn.AdaptiveMaxPool2d((3, 4)), conv(4, 3, 1)), (12, 8)),
    "the mean and the maximum of everything": Case(
        lambda: steps(conv(), Both(nn.AdaptiveAvgPool2d(1), steps(lambda x: x.amax((2, 3), keepdim=True)), torch.add))
    ),
    "transposed": Case(lambda: steps(conv(3, 4, 2, stride=2), nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1))),
    "transposed, grouped, with holes": Case(
        lambda: steps(
            conv(3, 4, 3, stride=2),
            nn.ConvTranspose2d(4, 6, (2, 4), (3, 2), (0, 1), groups=2, dilation=(2, 1)),
            conv(6),
        )
    ),
    "nearest": Case(lambda: resize("nearest", scale_factor=1.5)),
    "nearest, smaller": Case(lambda: resize("nearest-exact", (5, 8))),
    "bilinear": Case(lambda: resize("bilinear", scale_factor=2.0)),
    "bilinear, corners aligned": Case(lambda: resize("bilinear", (12, 5), align_corners=True)),
    "bilinear, smaller, antialiased": Case(lambda: resize("bilinear", (4, 5), antialias=True)),
    "bicubic": Case(lambda: resize("bicubic", (13, 6))),
    "bicubic, corners aligned": Case(lambda: resize("bicubic", (13, 6), align_corners=True)),
    "area": Case(lambda: resize("area", (4, 5))),
    "pixel shuffle": Case(lambda: steps(conv(3, 12, 3, stride=2), nn.PixelShuffle(2), conv(3, 3, 2))),
    "pixel unshuffle": Case(lambda: steps(nn.PixelUnshuffle(2), conv(12, 4, 2), nn.PixelShuffle(2)), (12, 10)),
    "groups, channel shuffle, depthwise": Case(Shuffled),
    "one of two groups": Case(HalfOfTheGroups),
    "residual": Case(lambda: steps(conv(), Both(steps(conv(4, 4, 3, padding=1), nn.GELU()), nn.Identity(), torch.add))),
    "branches that do not meet": Case(
        lambda: steps(Both(conv(3, 4, 5, stride=2), conv(3, 4, 1, stride=2), end_cut), conv(4, 3, 2))
    ),
    "concatenation": Case(
        lambda: steps(
            Both(
                conv(3, 4, 3, padding=2, dilation=2), nn.MaxPool2d((1, 3), 1, (0, 1)), lambda a, b: torch.cat([a, b], 1)
            ),
            conv(7, 3, 2),
        )
    ),
    "squeeze and excite": Case(lambda: steps(conv(), SqueezeExcite(4))),
    "a small U-net": Case(SmallUNet, (10, 14)),
    "batch norm": Case(lambda: steps(conv(), nn.BatchNorm2d(4), conv(4, 3, 2))),
    "batch norm in training": Case(
        lambda: steps(conv(), nn.BatchNorm2d(4), conv(4, 3, 2)), training=True, joins_batch=True, neurons=2
    ),
    "group norm": Case(lambda: steps(conv(), nn.GroupNorm(2, 4), conv(4, 3, 2))),
    "layer norm over channels": Case(
        lambda: steps(
            conv(), lambda x: x.permute(0, 2, 3, 1), nn.LayerNorm(4), lambda x: x.permute(0, 3, 1, 2), conv(4)
        )
    ),
    "layer norm over rows": Case(lambda: steps(conv(), nn.LayerNorm(7), conv(4, 3, 2))),
    "instance norm": Case(lambda: steps(conv(), nn.InstanceNorm2d(4), conv(4, 3, 2))),
    "instance norm with statistics": Case(lambda: steps(conv(), nn.InstanceNorm2d(4, track_running_stats=True))),
    "instance norm with statistics, in training": Case(
        lambda: steps(conv(), nn.InstanceNorm2d(4, track_running_stats=True)), training=True
    ),
    "one dimension, along the rows joined": Case(
        lambda: steps(lambda x: x.flatten(2), nn.Conv1d(3, 4, 5, 2, 1, 2), lambda x: x[..., :45].unflatten(2, (9, 5)))
    ),
    "three dimensions": Case(
        lambda: steps(conv(), stripes, nn.Conv3d(1, 2, (2, 3, 2), (1, 1, 2), (1, 0, 1)), lambda x: x.flatten(1, 2))
    ),
    "masked convolution": Case(
        lambda: steps(MaskedConvolution(3, 4, sees_centre=False), MaskedConvolution(4, 3, sees_centre=True))
    ),
    "taps that are zero": Case(dead_taps),
}
