"""Networks of full size against the same networks written the usual way: time of a forward pass and a training step.

Three comparisons, each of two networks with one set of weights, interleaved in one process, outputs and gradients
compared first:

- `resnet50`: `models.ResNet(50)` against a ResNet as torchvision lays it out (He et al., 2016,
  https://arxiv.org/abs/1512.03385; the stride in the 3 x 3 convolution), written here from plain PyTorch layers;
- `vit_small`, `vit_tiny`: `models.VisionTransformer` against a ViT as timm lays it out (one `qkv`, fused attention, the
  table of positions at its own size), written here likewise;
- `criss_cross`: two passes of `layers.RecurrentCrissCross` on a map of 512 x 97 x 97, projections included, against the
  same module with the plain einsum form.

    python benchmarks/full_networks.py

A training step is forward, cross-entropy (for the module: a given gradient) and the gradients of every parameter; no
optimiser, which is PyTorch's in both. Ratios over 1 mean that ours is faster.

Left out: GPUs, `torch.compile`, half precision, and data.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from sightline.bench import machine
from sightline.bench.measure import interleave, speedup, spread
from sightline.layers.criss_cross import CrissCross, RecurrentCrissCross
from sightline.models.resnet import ResNet
from sightline.models.vit import SIZES, Size, VisionTransformer
from sightline.ops import criss_cross_plain
from sightline.run.files import write_whole

WANTED = {"resnet50": 1 / 1.05, "vit_small": 1 / 1.05, "vit_tiny": 1 / 1.05, "criss_cross": 1.25}  # peer's time / ours


class PeerBottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != 4 * width:
            shortcut = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


class PeerResNet(nn.Module):
    """ResNet-50 with a classifier."""

    def __init__(self, counts: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                blocks.append(PeerBottleneck(inputs, width * 2**stage, 2 if i == 0 and stage > 0 else 1))
                inputs = 4 * width * 2**stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class PeerAttention(nn.Module):
    """Multi-head attention through one projection."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class PeerMlp(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class PeerBlock(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(channels, eps=1e-6), PeerAttention(channels, heads)
        self.norm2, self.mlp = nn.LayerNorm(channels, eps=1e-6), PeerMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PeerViT(nn.Module):
    """A plain ViT with a class token at one image size."""

    def __init__(self, size: Size, side: int, patch: int, classes: int) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, size.channels, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (side // patch) ** 2, size.channels))
        self.blocks = nn.Sequential(*(PeerBlock(size.channels, size.heads) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.channels, eps=1e-6)
        self.head = nn.Linear(size.channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class PeerCrissCross(nn.Module):
    """Criss-cross attention as published: three convolutions, every weight in memory, gamma, the residual."""

    def __init__(self, channels: int, passes: int) -> None:
        super().__init__()
        self.cca, self.passes = CrissCross(channels), passes

    def forward(self, x: Tensor) -> Tensor:
        layer = self.cca
        for _ in range(self.passes):
            q, k, v = layer.query_conv(x), layer.key_conv(x), layer.value_conv(x)
            x = layer.gamma * criss_cross_plain.attention(q, k, v) + x
        return x


@dataclasses.dataclass(frozen=True)
class Pair:
    """Ours and the peer's network with the same weights, and what both are given."""

    ours: Callable[[Tensor], Tensor]
    peer: nn.Module
    parameters: tuple[list[Tensor], list[Tensor]]  # ours, the peer's, in the same order
    image: Tensor
    gradient: Tensor | None  # of the output; None: cross-entropy with class 1

    def step(self, which: str) -> tuple[Tensor, ...]:
        """Forward and backward."""
        network, leaves = (self.ours, self.parameters[0]) if which == "ours" else (self.peer, self.parameters[1])
        out = network(self.image)
        if self.gradient is not None:
            return torch.autograd.grad(out, leaves, self.gradient)
        return torch.autograd.grad(F.cross_entropy(out, torch.ones(len(out), dtype=torch.long)), leaves)

    def forward(self, which: str) -> Tensor:
        """Forward without gradients."""
        with torch.no_grad():
            return (self.ours if which == "ours" else self.peer)(self.image)


def pair(name: str, batch: int, side: int, *, small: bool = False) -> Pair:
    """Build both networks; `small` for the check in float64."""
    torch.manual_seed(0)
    classes = 10 if small else 1000
    if name == "criss_cross":
        channels, passes = (16, 2) if small else (512, 2)
        size = 7 if small else 97
        ours: nn.Module = RecurrentCrissCross(channels, passes, gamma=0.5)
        peer: nn.Module = PeerCrissCross(channels, passes)
        call: Callable[[Tensor], Tensor] = ours
        image, gradient = torch.randn(batch, channels, size, size + 2 * small), True
    elif name == "resnet50":
        width = 8 if small else 64
        network = ResNet(50, width=width, classes=classes)
        ours, call, peer = network, network.classify, PeerResNet(width=width, classes=classes)
        image, gradient = torch.randn(batch, 3, side, side), False
    else:
        size_of = Size(16, 2, 2) if small else SIZES[name.removeprefix("vit_")]
        vit = VisionTransformer(size_of, image_size=(side, side), patch=16, classes=classes)
        ours, call, peer = vit, vit.classify, PeerViT(size_of, side, 16, classes)
        image, gradient = torch.randn(batch, 3, side, side), False
    if small:
        ours, peer, image = ours.double(), peer.double(), image.double()
    peer.load_state_dict(ours.state_dict())
    named = dict(ours.named_parameters())
    leaves = ([named[key] for key, _ in peer.named_parameters()], list(peer.parameters()))
    return Pair(call, peer, leaves, image, torch.randn_like(image) if gradient else None)


def check(name: str) -> None:
    """Both are one function: output and every gradient, in float64."""
    both = pair(name, 2, 64, small=True)
    torch.testing.assert_close(both.forward("ours"), both.forward("peer"))
    torch.testing.assert_close(both.step("ours"), both.step("peer"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Networks of full size against the same networks written the usual way."""

    only: tuple[str, ...] = tuple(WANTED)
    """Which comparisons."""
    batch: int = 2
    """Images at once; the criss-cross module gets one map."""
    side: int = 224
    """Side of an image."""
    repeats: int = 9
    """Turns of the timing."""
    threads: int = 1
    """Threads; with one, the process's own time is measured, else wall time."""
    out: Path | None = Path(__file__).parent / "results" / "full_networks.md"
    """The page that is written."""


def rows(name: str, settings: Settings) -> list[str]:
    """Two lines of the table: forward and training step."""
    both = pair(name, 1 if name == "criss_cross" else settings.batch, settings.side)
    clock = "cpu" if settings.threads == 1 else "wall"
    lines = []
    for part, call in (("forward", both.forward), ("training step", both.step)):
        calls = {who: functools.partial(call, who) for who in ("peer", "ours")}
        seconds = interleave(calls, settings.repeats, clock=clock)
        ratio, times = speedup(seconds, "peer", "ours"), {who: spread(seconds[who]).median for who in seconds}
        wanted = f"{WANTED[name]:.2f}" if name != "criss_cross" or part == "training step" else ""
        lines.append(
            f"| {name} | {part} | {1e3 * times['peer']:.0f} | {1e3 * times['ours']:.0f} "
            f"| {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] | {wanted} |"
        )
        print(lines[-1], flush=True)
    return lines


def main(settings: Settings) -> None:
    """Check, measure, print, write."""
    torch.set_num_threads(settings.threads)
    for name in settings.only:
        check(name)
    clock = "process time" if settings.threads == 1 else "wall time"
    head = [
        "| network | what | peer, ms | ours, ms | peer / ours | wanted |",
        "|---|---|---:|---:|---:|---:|",
    ]
    print("\n".join(head), flush=True)
    table = [line for name in settings.only for line in rows(name, settings)]
    page = [
        "# Networks of full size against the same networks written the usual way",
        "",
        f"Float32, {settings.batch} images of {settings.side}^2; criss_cross: one map of 512 x 97 x 97.",
        f"{clock.capitalize()}, medians over {settings.repeats} interleaved turns; ratios within each turn, quartiles.",
        "",
        *head,
        *table,
        "",
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in machine.provenance().items()),
    ]
    if settings.out is not None:
        write_whole(settings.out, "\n".join(page) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings))
