"""Mixup and CutMix: batches in which each image is mixed with another, and soft targets that say how much of each.

- mixup (Zhang et al., 2018, https://arxiv.org/abs/1710.09412): x = l x_i + (1 - l) x_j, target l t_i + (1 - l) t_j.
- CutMix (Yun et al., 2019, https://arxiv.org/abs/1905.04899): a box of x_j is pasted onto x_i. It has the image's
  proportions, a part 1 - l of its area and any centre, and is cut at the border; l is then the part of the pixels that
  are still x_i's, exactly.

l ~ Beta(alpha, alpha) is drawn for each image (the released code of both: for each batch), and the partners are a
random permutation of the batch, as released. Randomness comes from a generator on the CPU, wherever the batch is.

Left out: mixing of masks.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor


def mixup(
    images: Float[Tensor, "b c h w"],
    target: Int[Tensor, "b"] | Float[Tensor, "b k"],
    *,
    classes: int,
    alpha: float,
    generator: Generator,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b {classes}"]]:
    """Images mixed in pairs, and their soft targets.

    Args:
        images: A batch, normalised or not.
        target: Class indices, or soft targets.
        classes: How many classes there are.
        alpha: The larger, the more even the mixture: 0.2 in the paper on ImageNet, 0.8 for DeiT. 0 mixes nothing.
        generator: On the CPU.

    Raises:
        ValueError: a negative alpha.
    """
    kept = _draw_beta(len(images), alpha, generator).to(images)
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    part = kept[:, None, None, None]
    return part * images + (1 - part) * images[partner], _mix_targets(target, partner, kept, classes)


def cutmix(
    images: Float[Tensor, "b c h w"],
    target: Int[Tensor, "b"] | Float[Tensor, "b k"],
    *,
    classes: int,
    alpha: float,
    generator: Generator,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b {classes}"]]:
    """Images with a box of another one in each, and their soft targets by the exact number of pixels.

    Arguments and errors are those of `mixup`. The paper's alpha is 1: any area is equally likely before the border cuts
    the box.
    """
    b, _, h, w = images.shape
    side = (1 - _draw_beta(b, alpha, generator)).sqrt()
    partner = torch.randperm(b, generator=generator).to(images.device)
    rows, columns = _span(side, h, generator), _span(side, w, generator)
    pasted = (rows[:, :, None] & columns[:, None, :]).to(images.device)
    mixed = images[partner].where(pasted[:, None], images)
    kept = 1 - rows.sum(1).double() * columns.sum(1) / (h * w)
    return mixed, _mix_targets(target, partner, kept.to(images), classes)


def mix(
    images: Float[Tensor, "b c h w"],
    target: Int[Tensor, "b"] | Float[Tensor, "b k"],
    *,
    classes: int,
    mixup_alpha: float,
    cutmix_alpha: float,
    generator: Generator,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b {classes}"]]:
    """Mixup or CutMix of a batch, by a coin, as DeiT does it; the one whose alpha is not 0 where the other's is."""
    heads = bool(torch.randint(2, (), generator=generator))
    if mixup_alpha > 0 and (heads or cutmix_alpha == 0):
        return mixup(images, target, classes=classes, alpha=mixup_alpha, generator=generator)
    return cutmix(images, target, classes=classes, alpha=cutmix_alpha, generator=generator)


def _draw_beta(number: int, alpha: float, generator: Generator) -> Float[Tensor, "{number}"]:
    """NumPy's Beta, as PyTorch's takes no generator; its seed comes from ours."""
    if alpha < 0:
        raise ValueError(f"images are mixed by Beta(alpha, alpha) with alpha from 0 (not at all) on, got {alpha}")
    if alpha == 0:
        return torch.ones(number, dtype=torch.float64)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, number))


def _span(side: Float[Tensor, "b"], length: int, generator: Generator) -> Tensor:
    """Which of `length` rows or columns each image's box covers: a part `side` of them around any of them."""
    size = (side * length).long()[:, None]
    middle = torch.randint(length, (len(side), 1), generator=generator)
    place = torch.arange(length)
    start = middle - size // 2
    return (place >= start) & (place < start + size)


def _mix_targets(target: Tensor, partner: Tensor, kept: Float[Tensor, "b"], classes: int) -> Float[Tensor, "b k"]:
    soft = target.float() if target.is_floating_point() else F.one_hot(target.long(), classes).float()
    part = kept.float()[:, None]
    return part * soft + (1 - part) * soft[partner]
