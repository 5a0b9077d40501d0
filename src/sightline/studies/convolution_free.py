"""Is a Vision Transformer convolution-free? Its patch embedding is a convolution whose stride is its kernel, and equals
unfold and one matrix product (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, equation 1).

Shown on a photograph: the three steps patches -> matrix -> tokens, the numbers by which the two forms differ, the
kernels as an image grid, and what is left of a convolution: each pixel is read once, so that a token knows its own
patch alone, and a picture that moves by less than a patch gives other tokens. The kernels are the photograph's own
principal components, which need no training and no download; the equality is tested on random kernels as well.

Left out: learned kernels; how much better overlapping stems train (Xiao et al., 2021,
https://arxiv.org/abs/2106.14881).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sightline.models.vit import PatchEmbedding
from sightline.ops.arguments import choose
from sightline.seeing.reach import changed
from sightline.studies.folder import at_least_one, command_of, machine, versions, write_results

PHOTOGRAPHS = ("china", "flower")
EXACT = 1e-12  # float64, tokens of order one: what rounding alone explains
SHIFT_KERNELS = 16  # kernels that the shift is measured with: stride 1 makes a token of every pixel


@dataclass(frozen=True)
class ConvolutionFree:
    """Settings of the study; the defaults are the patch and the width of ViT-B/16."""

    out: Path = Path("runs/convolution-free")
    """Folder for the page, results.json and the pictures."""
    patch: int = 16
    """Edge of a patch in pixels."""
    channels: int = 768
    """Width of a token: the number of kernels."""
    photograph: str = "china"
    """Which of scikit-learn's photographs: china, flower."""


def run(settings: ConvolutionFree) -> None:
    """Measure, draw and write the page; seconds.

    Raises:
        ValueError: an unknown photograph, or a patch or width that does not fit.
    """
    from sightline.studies import convolution_free_page

    image = photograph(settings)
    kernels = principal_kernels(image, settings.patch, settings.channels)
    results = {
        "study": "convolution-free",
        "command": command_of("convolution-free", settings),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            **{name: value for name, value in asdict(settings).items() if name != "out"},
            "photograph": f"{settings.photograph}, {image.shape[2]} x {image.shape[3]} pixels (h x w)",
        },
        "differences": differences(image, kernels),
        "operations": operations(image, kernels),
        "one_patch": one_patch(image, kernels),
        "strides": strides(image, kernels),
        "finished": True,
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    write_results(settings.out, results)
    print(convolution_free_page.write(settings.out, results, image, kernels))


def photograph(settings: ConvolutionFree) -> Float[Tensor, "1 3 h w"]:
    """The photograph in [0, 1], float64, cut to whole patches.

    Raises:
        ValueError: unknown, or smaller than two patches along an axis, or a width below 1.
    """
    from sklearn.datasets import load_sample_image

    choose("photograph", settings.photograph, PHOTOGRAPHS)
    at_least_one(settings, "patch", "channels")
    pixels = torch.from_numpy(load_sample_image(f"{settings.photograph}.jpg").copy())
    h, w = (size - size % settings.patch for size in pixels.shape[:2])
    if min(h, w) < 4 * settings.patch:
        raise ValueError(
            f"--patch {settings.patch} leaves {h // settings.patch} x {w // settings.patch} patches of the photograph: "
            f"take at most {min(pixels.shape[:2]) // 4}"
        )
    return (pixels[:h, :w].double() / 255).movedim(-1, 0)[None]


def patches_of(image: Float[Tensor, "1 c h w"], patch: int, stride: int | None = None) -> Float[Tensor, "n columns"]:
    """The matrix of the patches: a row for each, row by row of the image; columns are channel, y, x."""
    return F.unfold(image, patch, stride=patch if stride is None else stride)[0].t()


def principal_kernels(image: Float[Tensor, "1 c h w"], patch: int, channels: int) -> Float[Tensor, "k c p p"]:
    """The directions along which the image's patches differ most: orthonormal, most important first.

    Where more are asked for than a patch has numbers, the rest is random.
    """
    matrix = patches_of(image, patch)
    centred = matrix - matrix.mean(0)
    kernels = torch.linalg.eigh(centred.t() @ centred).eigenvectors.t().flip(0)[:channels]
    if channels > len(kernels):
        more = torch.randn(channels - len(kernels), matrix.shape[1], generator=_generator(), dtype=matrix.dtype)
        kernels = torch.cat([kernels, more / matrix.shape[1] ** 0.5])
    signs = kernels.sum(1).sign()  # an eigenvector's sign is an accident of the routine
    kernels = kernels * torch.where(signs == 0, torch.ones_like(signs), signs)[:, None]
    return kernels.unflatten(1, (image.shape[1], patch, patch))


def embedding(kernels: Float[Tensor, "k c p p"]) -> PatchEmbedding:
    """The library's patch embedding with these kernels, and a bias that is not zero."""
    layer = PatchEmbedding(kernels.shape[1], kernels.shape[0], kernels.shape[2]).to(kernels.dtype)
    bias = torch.randn(kernels.shape[0], generator=_generator(), dtype=torch.float64)
    layer.load_state_dict({"proj.weight": kernels, "proj.bias": bias.to(kernels.dtype)})
    return layer


def unfold_and_multiply(
    image: Float[Tensor, "1 c h w"], weight: Float[Tensor, "k c p p"], bias: Float[Tensor, " k"]
) -> Float[Tensor, "1 n k"]:
    """The same by hand: every patch a row of a matrix, then one linear layer."""
    return F.linear(patches_of(image, weight.shape[2]), weight.flatten(1), bias)[None]


def differences(image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> list[dict[str, Any]]:
    """The largest differences between the two forms, relative to the largest number: tokens and every gradient."""
    rows = []
    drawn = torch.randn(kernels.shape, generator=_generator(), dtype=torch.float64) * kernels[0].numel() ** -0.5
    for name, weights in (("principal components", kernels), ("random", drawn)):
        for dtype in (torch.float64, torch.float32):
            layer = embedding(weights.to(dtype))
            pixels = image.to(dtype, copy=True).requires_grad_()
            weight, bias = layer.proj.weight, layer.proj.bias
            assert bias is not None
            tokens = layer(pixels)
            by_hand = unfold_and_multiply(pixels, weight, bias)
            cotangent = torch.randn(tokens.shape, generator=_generator(), dtype=dtype)
            found = [torch.autograd.grad(out, (pixels, weight, bias), cotangent) for out in (tokens, by_hand)]
            rows.append(
                {
                    "kernels": name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "tokens": _apart(tokens, by_hand),
                    "absolute": float((tokens - by_hand).detach().abs().max()),
                    "largest_token": float(tokens.detach().abs().max()),
                    **{
                        f"gradient_{of}": _apart(a, b)
                        for of, a, b in zip(("image", "kernels", "bias"), *found, strict=True)
                    },
                }
            )
    return rows


def operations(image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> dict[str, int]:
    """What both forms cost, counted by PyTorch and by formula: patches x kernels x numbers of a patch, times two."""
    layer = embedding(kernels)
    bias = layer.proj.bias
    assert bias is not None
    counted = []
    with torch.no_grad():
        for form in (layer, lambda pixels: unfold_and_multiply(pixels, layer.proj.weight, bias)):
            with FlopCounterMode(display=False) as counter:
                form(image)
            counted.append(int(counter.get_total_flops()))
    matrix = patches_of(image, kernels.shape[2])
    return {
        "patches": matrix.shape[0],
        "numbers_of_a_patch": matrix.shape[1],
        "kernels": kernels.shape[0],
        "formula": 2 * matrix.shape[0] * matrix.shape[1] * kernels.shape[0],
        "convolution": counted[0],
        "unfold_and_linear": counted[1],
    }


def one_patch(image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> dict[str, int]:
    """Change one patch of the image, and count the tokens of which any bit changes."""
    patch = kernels.shape[2]
    layer = embedding(kernels)
    other = image.clone()
    row, column = image.shape[2] // patch // 2, image.shape[3] // patch // 2
    other[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] += 0.25
    moved = changed(lambda pixels: layer.proj(pixels), image, other)
    return {"tokens": moved.numel(), "changed": int(moved.sum()), "right_one": int(moved[0, row, column])}


def strides(image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> list[dict[str, Any]]:
    """The same kernels at shorter strides, down to a true convolution: what overlap costs, and what it buys.

    `moved` is by how much the tokens change when the picture moves by s = 0, 1, .. pixels, beyond moving along:
    the tokens of the moved picture against those of the picture itself, moved by the nearest whole number of strides,
    where both have tokens; the size of the difference over the size of the tokens about their mean.
    """
    patch = kernels.shape[2]
    few = kernels[: min(SHIFT_KERNELS, kernels.shape[0])]
    room = patch + patch // 3  # a whole period, and as far into the next as tells all strides apart
    h, w = (min(size - room, 8 * patch) // patch * patch for size in image.shape[2:])
    top, left = (image.shape[2] - h) // 2, (image.shape[3] - w - room) // 2
    rows = []
    for stride in sorted({1, patch // 4, patch // 2, patch} - {0}, reverse=True):
        still = F.conv2d(image[:, :, top : top + h, left : left + w], few, stride=stride)
        moved = []
        for shift in range(room + 1):
            seen = image[:, :, top : top + h, left + shift : left + shift + w]
            tokens = F.conv2d(seen, few, stride=stride)
            by = min(round(shift / stride), still.shape[3] - 1)
            here, there = tokens[..., : tokens.shape[3] - by], still[..., by:]
            about = there - there.mean((0, 2, 3), keepdim=True)
            moved.append(float((here - there).norm() / about.norm()))
        tokens_of_photograph = [(size - patch) // stride + 1 for size in image.shape[2:]]
        count = tokens_of_photograph[0] * tokens_of_photograph[1]
        rows.append(
            {
                "stride": stride,
                "tokens": count,
                "reads": (patch / stride) ** 2,
                "operations": 2 * count * kernels.numel(),
                "followed": sum(one < EXACT for one in moved),
                "shifts": len(moved),
                "moved": moved,
            }
        )
    return rows


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _apart(one: Tensor, other: Tensor) -> float:
    return float(((one - other).abs().max() / other.abs().max()).detach())
