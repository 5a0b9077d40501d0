"""Why did it say so? Where the attention looked from a pixel, or, where there is none, what the answer hangs on.

Attention is asked for that one pixel through the layers' own `.weights`: the head's (criss-cross, non-local), otherwise
the encoder's last block (Vision Transformer, non-local ResNet). Weights say where values were taken from, no more: the
layers around them count as well. A network without attention is asked by the size of the gradient of the winning logit
at every pixel of the image (Simonyan et al., 2013, https://arxiv.org/abs/1312.6034, section 3).

Left out: attention of all blocks at once, and what a network *can* see whatever its weights: that is `seeing`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.models.non_local_net import NonLocalNet
from sightline.models.vit import VisionTransformer
from sightline.vision.augmentation.prepare import needed_multiple


class Look(NamedTuple):
    """How much every pixel of the image counts for one answer, zero or more, and what that number is, in words."""

    weights: Float[Tensor, "h w"]
    name: str


def where_it_looks(
    network: nn.Module,
    image: Float[Tensor, "1 c h w"],
    pixel: tuple[int, int] | None = None,
    *,
    window: int | None = None,
) -> Look:
    """What the answer at `pixel` (row, column) looked at; at None the answer for the whole image, of a class network.

    Args:
        network: in evaluation mode; a `Segmenter` or a `Classifier` for its attention, any other for its gradient.
        image: normalised as in training.
        pixel: row and column.
        window: ask in a window of this side around the pixel alone, as a prediction by windows does.

    Raises:
        ValueError: the pixel lies outside of the image.
    """
    h, w = image.shape[2:]
    if pixel is None:
        return _ask(network, image, None)
    if not (0 <= pixel[0] < h and 0 <= pixel[1] < w):
        raise ValueError(
            f"asked why at row {pixel[0]}, column {pixel[1]}, and the image has {h} rows and {w} columns, counted from"
            " 0: choose a pixel inside"
        )
    if window is None:
        return _ask(network, image, pixel)
    top, left = (min(max(0, at - window // 2), max(0, n - window)) for at, n in zip(pixel, (h, w), strict=True))
    crop = image[..., top : top + window, left : left + window]
    look = _ask(network, crop, (pixel[0] - top, pixel[1] - left))
    weights = look.weights.new_zeros(h, w)
    weights[top : top + window, left : left + window] = look.weights
    return Look(weights, look.name)


def least_certain(probabilities: Float[Tensor, "k h w"]) -> tuple[int, int]:
    """The pixel around which the network is least certain.

    The mean entropy over a neighbourhood (a sixteenth of the shorter side to each direction) is largest there: single
    pixels are always uncertain where two classes meet.
    """
    entropy = torch.special.entr(probabilities).sum(0)
    h, w = entropy.shape
    reach = max(1, min(h, w) // 16)
    mean = F.avg_pool2d(entropy[None, None], 2 * reach + 1, 1, reach, count_include_pad=False)[0, 0]
    index = int(mean.argmax())
    return index // w, index % w


def _ask(network: nn.Module, image: Tensor, pixel: tuple[int, int] | None) -> Look:
    h, w = image.shape[2:]
    multiple = needed_multiple(network)
    filled = F.pad(image, (0, -w % multiple, 0, -h % multiple))
    with torch.no_grad():
        found = _attention(network, filled, pixel)
    if found is None:
        return Look(_gradient(network, filled, pixel)[:h, :w], "pixels whose change would move this answer most")
    weights, name = found
    whole = F.interpolate(weights.abs()[None, None], filled.shape[2:], mode="nearest-exact")[0, 0]
    return Look(whole[:h, :w], name)  # no smoothing: what is drawn is as coarse as the attention


def _attention(network: nn.Module, image: Tensor, pixel: tuple[int, int] | None) -> tuple[Tensor, str] | None:
    """Weights on the attention's own map `[y, x]`; None where there is no attention to be asked."""
    encoder, head = getattr(network, "encoder", None), getattr(network, "head", None)
    if encoder is None:
        return None
    if pixel is not None and head is not None and hasattr(head, "weights") and getattr(head, "recurrence", 1) > 0:
        features = encoder(image)
        query = _place(pixel, image, features)
        return _over_heads(head.weights(features, query)[0]), "where the head's attention looks from there"
    if isinstance(encoder, VisionTransformer):
        grid = [n // encoder.stride for n in image.shape[2:]]
        if pixel is None:
            if encoder.cls_token is None:
                return None
            weights, who = encoder.weights(image, 0), "where the class token looks in the last block"
        else:
            query = pixel[0] // encoder.stride, pixel[1] // encoder.stride
            weights, who = encoder.weights(image, query), "where the last block's attention looks from there"
        return weights[0].mean(0)[-grid[0] * grid[1] :].reshape(grid), who
    if isinstance(encoder, NonLocalNet) and pixel is not None:
        stage = max(stage for stage, _ in encoder.places)
        query = _place(pixel, image, encoder.maps(image)[stage])
        return encoder.weights(image, query)[0], "where the last non-local block looks from there"
    return None


def _place(pixel: tuple[int, int], image: Tensor, features: Tensor) -> tuple[int, int]:
    """The position of a map under a pixel's middle."""
    y, x = (int((at + 0.5) * n / m) for at, n, m in zip(pixel, features.shape[2:], image.shape[2:], strict=True))
    return y, x


def _over_heads(weights: Tensor) -> Tensor:
    return weights.mean(0) if weights.dim() == 3 else weights


def _gradient(network: nn.Module, image: Tensor, pixel: tuple[int, int] | None) -> Tensor:
    with torch.enable_grad():
        image = image.detach().clone().requires_grad_()
        logits = network(image)[0]
        if pixel is not None:
            logits = logits[:, pixel[0], pixel[1]]
        (gradient,) = torch.autograd.grad(logits.max(), image)
    return gradient[0].abs().sum(0)
