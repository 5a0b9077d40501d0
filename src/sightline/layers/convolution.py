"""A convolution with its norm and activation, the brick of the convolutional models, and the choice of a norm.

Left out: anything clever. Padding keeps the size (an odd kernel, stride 1) and is zero, so that a border is visible.
"""

from torch import nn

from sightline.ops.arguments import choose

GROUPS = 8  # of a group norm, fewer where they would not divide the channels


def make_norm(name: str, channels: int) -> nn.Module:
    """A norm for maps: "batch", "group" or "none".

    A group norm does not depend on the batch, but it averages over all positions: every position then knows a little
    of every other, which no layer's pattern shows. A batch norm does so in training only.
    """
    choose("norm", name, ("batch", "group", "none"))
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(max(g for g in range(1, GROUPS + 1) if channels % g == 0), channels)
    return nn.Identity()


def conv_norm(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    norm: str = "batch",
    activation: bool = True,
) -> nn.Sequential:
    """Convolution, norm, ReLU: `[b, inputs, h, w] -> [b, outputs, ceil(h / stride), ceil(w / stride)]`.

    Raises:
        ValueError: the kernel is even, so that no padding keeps the size; an unknown norm.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"an odd kernel keeps a map's size, got {kernel}")
    convolution = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        padding=kernel // 2 * dilation,
        dilation=dilation,
        bias=norm == "none",
    )
    layers: list[nn.Module] = [convolution, make_norm(norm, outputs)]
    if activation:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
