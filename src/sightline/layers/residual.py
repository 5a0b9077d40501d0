"""The residual blocks of ResNet (He et al., 2016, https://arxiv.org/abs/1512.03385, figure 5), dilated on request.

Names are torchvision's: `conv1`, `bn1`, `conv2`, `bn2` (`conv3`, `bn3`), `downsample.0`, `downsample.1`, so that its
weights load. As there (and in CCNet's backbone) the bottleneck strides in its 3 x 3 convolution, not in the first.
`first_dilation` is that of the convolution that may stride: where a stage dilates instead of striding, this one must
keep the dilation before, or the numbers are not those of the strided network at the positions that both have.

Left out: grouped and wider bottlenecks, pre-activation, squeeze and excitation.
"""

from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int, norm: str) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), make_norm(norm, outputs))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut: `[b, inputs, h, w] -> [b, width, y, x]`."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        first = dilation if first_dilation is None else first_dilation
        self.conv1 = _convolution(inputs, width, 3, stride, first)
        self.bn1 = make_norm(norm, width)
        self.conv2 = _convolution(width, width, 3, 1, dilation)
        self.bn2 = make_norm(norm, width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride, norm)

    def forward(self, x: Float[Tensor, "b inputs h w"]) -> Float[Tensor, "b width y x"]:
        """Two convolutions, added to the shortcut."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class BottleneckBlock(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 around a shortcut: `[b, inputs, h, w] -> [b, 4 width, y, x]`."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        first = dilation if first_dilation is None else first_dilation
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = make_norm(norm, width)
        self.conv2 = _convolution(width, width, 3, stride, first)
        self.bn2 = make_norm(norm, width)
        self.conv3 = _convolution(width, width * self.expansion, 1)
        self.bn3 = make_norm(norm, width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width * self.expansion, stride, norm)

    def forward(self, x: Float[Tensor, "b inputs h w"]) -> Float[Tensor, "b outputs y x"]:
        """Narrow, convolve, widen, added to the shortcut."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))
