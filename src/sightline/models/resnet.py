"""ResNet (He et al., 2016, https://arxiv.org/abs/1512.03385, table 1), dilated to any output stride (Chen et al., 2017,
https://arxiv.org/abs/1706.05587, section 3.1): beyond it a stage dilates instead of striding, so that the map stays
fine.

Names are torchvision's, and the weights of its networks load (depths 18 to 152, stem "plain"); with the stem "deep" the
names are those of CCNet's backbone. Two conventions of dilation are in use, with the same weights. torchvision's
`replace_stride_with_dilation` keeps the first convolution of a dilated stage at the dilation before: the map then holds
exactly the strided network's numbers, and those between; mmsegmentation does the same (`contract_dilation`). CCNet
dilates it as well.

Left out: grouped convolutions.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm
from sightline.layers.recompute import recompute
from sightline.layers.residual import BasicBlock, BottleneckBlock
from sightline.models.encoder import check_image
from sightline.ops.arguments import choose

BLOCKS: dict[int, tuple[type[BasicBlock] | type[BottleneckBlock], tuple[int, int, int, int]]] = {
    10: (BasicBlock, (1, 1, 1, 1)),  # not in the paper: the smallest with four stages
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (BottleneckBlock, (3, 4, 6, 3)),
    101: (BottleneckBlock, (3, 4, 23, 3)),
    152: (BottleneckBlock, (3, 8, 36, 3)),
}
STEM_STRIDE = {"plain": 4, "deep": 4, "narrow": 4, "small": 1}


class ResNet(nn.Module):
    """A residual network, `[b, c, h, w] -> [b, channels, h / stride, w / stride]`, any size.

    Args:
        depth: 10, 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks).
        image_channels: channels of the image.
        width: of the first stage, doubled by every further one.
        output_stride: where the map stops shrinking and dilation begins: 4, 8, 16 or 32 (1 to 8 with the stem "small").
        dilate_first: whether the first block of a dilated stage is dilated throughout (CCNet) or begins at the dilation
            before (torchvision).
        stem: "plain" (7 x 7 and pooling), "deep" (three 3 x 3 and pooling, as in CCNet), "narrow" (the same at half the
            width, as in mmsegmentation's ResNetV1c), "small" (one 3 x 3, no stride, for small images).
        norm: "batch", "group" or "none".
        classes: outputs of the classifier `fc`; 0 leaves it out.
        multi_grid: what the blocks of the last stage multiply their dilation with, in turn (Chen et al., 2017, section
            3.2.1, with (1, 2, 4); CCNet's is (1, 1, 1), the same as (1,)).
        recompute: whether blocks are run again in the backward pass, which saves memory (`layers/recompute.py`).

    Raises:
        ValueError: a depth, stem, norm or output stride that there is not.
    """

    def __init__(
        self,
        depth: int = 50,
        *,
        image_channels: int = 3,
        width: int = 64,
        output_stride: int = 32,
        dilate_first: bool = False,
        stem: str = "plain",
        norm: str = "batch",
        classes: int = 0,
        multi_grid: tuple[int, ...] = (1,),
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"there is no ResNet of depth {depth}: it is one of {', '.join(map(str, BLOCKS))}")
        first = STEM_STRIDE[choose("stem", stem, STEM_STRIDE)]
        strides = [first * 2**n for n in range(4)]
        if output_stride not in strides:
            raise ValueError(
                f"under the stem '{stem}' output_stride is one of {', '.join(map(str, strides))}, got {output_stride}"
            )
        self.image_channels, self.stride, self.stem_kind, self.classes = image_channels, output_stride, stem, classes
        if not multi_grid or any(factor < 1 for factor in multi_grid):
            raise ValueError(f"multi_grid holds one or more positive factors of the dilation, got {multi_grid}")
        self.recompute, self.multi_grid = recompute, tuple(multi_grid)
        block, counts = BLOCKS[depth]
        self.relu = nn.ReLU(inplace=True)
        inputs = self._make_stem(width, norm)
        stages, self.widths = [], [width * 2**n * block.expansion for n in range(4)]
        for stage, (count, reached) in enumerate(zip(counts, strides, strict=True)):
            dilation = max(1, reached // output_stride)
            stride = 2 if stage > 0 and dilation == 1 else 1
            narrow = width * 2**stage
            begins = dilation if dilate_first or dilation == 1 else dilation // 2
            grid = [multi_grid[i % len(multi_grid)] if stage == 3 else 1 for i in range(count)]
            blocks = [
                block(
                    inputs,
                    narrow,
                    stride=stride,
                    dilation=dilation * grid[0],
                    first_dilation=begins * grid[0],
                    norm=norm,
                )
            ]
            inputs = narrow * block.expansion
            blocks += [block(inputs, narrow, dilation=dilation * factor, norm=norm) for factor in grid[1:]]
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = self.widths[-1]
        self.fc: nn.Module = nn.Linear(self.channels, classes) if classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _make_stem(self, width: int, norm: str) -> int:
        """Build the stem; return how many channels leave it."""
        image_channels = self.image_channels
        if self.stem_kind in ("deep", "narrow"):
            first = width if self.stem_kind == "deep" else max(width // 2, 1)
            self.conv1 = nn.Conv2d(image_channels, first, 3, 2, 1, bias=False)
            self.bn1 = make_norm(norm, first)
            self.conv2 = nn.Conv2d(first, first, 3, 1, 1, bias=False)
            self.bn2 = make_norm(norm, first)
            self.conv3 = nn.Conv2d(first, 2 * first, 3, 1, 1, bias=False)
            self.bn3 = make_norm(norm, 2 * first)
            return 2 * first
        kernel, stride = (7, 2) if self.stem_kind == "plain" else (3, 1)
        self.conv1 = nn.Conv2d(image_channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = make_norm(norm, width)
        return width

    def stem(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b width y x"]:
        """The map that enters the first stage."""
        check_image("ResNet", image, self.image_channels)
        x = self.relu(self.bn1(self.conv1(image)))
        if self.stem_kind == "small":
            return x
        if self.stem_kind in ("deep", "narrow"):
            x = self.relu(self.bn2(self.conv2(x)))
            x = self.relu(self.bn3(self.conv3(x)))
        return F.max_pool2d(x, 3, 2, 1, ceil_mode=self.stem_kind == "deep")

    def run(self, block: nn.Module, x: Float[Tensor, "b inputs h w"]) -> Float[Tensor, "b outputs y x"]:
        """One block, run again in the backward pass if the network was built so."""
        return recompute(block, x) if self.recompute else block(x)

    @property
    def stages(self) -> list[nn.Sequential]:
        """The four stages in order; res2 to res5 in the papers."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map of the last stage."""
        return self.maps(image)[-1]

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The maps of the four stages."""
        x, out = self.stem(image), []
        for stage in self.stages:
            for block in stage:
                x = self.run(block, x)
            out.append(x)
        return out

    def classify(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits from the mean over the map, if the classifier was built."""
        if not self.classes:
            raise ValueError("this ResNet has no classifier: build it with classes=")
        return self.fc(self.forward(image).mean((2, 3)))
