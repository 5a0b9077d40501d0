"""Does a network keep the encoder contract (`models/encoder.py`)? If not, one sentence says where it does not.

Left out: whether it is any good.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightline.layers.modes import evaluated

SIZES = ((64, 64), (64, 96), (97, 65))


def check_encoder(
    encoder: nn.Module, image_channels: int = 3, sizes: Sequence[tuple[int, int]] = SIZES, *, tolerance: float = 1e-4
) -> None:
    """Run an encoder in evaluation mode on random images of several sizes, among them oblong and odd ones.

    A size that the stride does not divide may be refused with a ValueError; whatever is accepted must come out right.
    The encoder's training mode is put back; its parameters' gradients are not touched.

    Args:
        encoder: any module.
        image_channels: channels of the images.
        sizes: heights and widths to try.
        tolerance: how far an image's map may depend on its neighbours in the batch, over the map's largest entry.

    Raises:
        ValueError: the contract is broken; one sentence says how.
        TypeError: `channels` or `stride` is missing or no positive whole number.
    """
    for name in ("channels", "stride"):
        number = getattr(encoder, name, None)
        if not isinstance(number, int) or number < 1:
            raise TypeError(f"an encoder says its .{name} as a positive whole number, this one says {number!r}")
    with evaluated(encoder):
        served = [_check_size(encoder, image_channels, size, tolerance) for size in sizes]
    if not any(served):
        raise ValueError(f"the encoder refuses every size tried, {', '.join(_says(s) for s in sizes)}: give sizes=")


def _says(size: Sequence[int]) -> str:
    return " x ".join(str(s) for s in size)


def _check_size(encoder: nn.Module, image_channels: int, size: tuple[int, int], tolerance: float) -> bool:
    """Check one size; False where the encoder refuses it and may."""
    like = next((p for p in encoder.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, image_channels, *size, generator=generator).to(like.device, like.dtype)
    untouched, image = image.clone(), image.requires_grad_()
    stride: int = encoder.stride  # type: ignore[assignment]
    try:
        out = encoder(image)
    except ValueError:
        if all(s % stride == 0 for s in size):
            raise
        return False
    _check_map(encoder, out, size)
    if not torch.equal(untouched, image.detach()):
        raise ValueError("the encoder changes the image that it is given: work on a copy")
    gradient = torch.autograd.grad(out.square().sum(), image, allow_unused=True)[0] if out.requires_grad else None
    if gradient is None or not gradient.any():
        raise ValueError("no gradient reaches the image: some step is detached or has no derivative")
    with torch.no_grad():
        if not torch.equal(encoder(image), encoder(image)):
            raise ValueError("the same image gives two different maps: the encoder is random in evaluation mode")
        apart = (encoder(image[:1]) - out[:1]).abs().max() / out.abs().max().clamp_min(1e-12)
        if apart > tolerance:
            raise ValueError(
                f"an image's map depends on the other images of its batch, by {float(apart):.1e} of its largest entry:"
                " a norm uses batch statistics in evaluation mode, or batch and positions are mixed up"
            )
        _check_optional(encoder, image)
    return True


def _check_map(encoder: nn.Module, out: object, size: tuple[int, int]) -> None:
    channels, stride = encoder.channels, encoder.stride
    assert isinstance(stride, int)  # checked before, said again for the type checker
    asked = f"an image of {_says(size)}"
    if not isinstance(out, Tensor):
        raise ValueError(f"an encoder returns one map, {asked} gave a {type(out).__name__}: put more into .maps(image)")
    if out.dim() != 4:
        raise ValueError(f"an encoder returns a map [b, channels, y, x], {asked} gave the shape {tuple(out.shape)}")
    if out.shape[0] != 2:
        raise ValueError(f"two images must give two maps, {asked} gave the shape {tuple(out.shape)}")
    if out.shape[1] != channels:
        raise ValueError(f"the encoder says {channels} channels, its map has {out.shape[1]}")
    if not _fits(out.shape[2:], size, stride):
        turned = (
            ": height and width are swapped" if size[0] != size[1] and _fits(out.shape[:1:-1], size, stride) else ""
        )
        raise ValueError(f"the encoder says stride {stride}, but {asked} gave a map of {_says(out.shape[2:])}{turned}")
    if not out.is_floating_point() or not out.isfinite().all():
        raise ValueError(f"{asked} gave a map that is not all finite numbers")


def _fits(out: Sequence[int], size: Sequence[int], stride: int) -> bool:
    return all(s // stride - 1 <= o <= -(-s // stride) + 1 for o, s in zip(out, size, strict=True))


def _check_optional(encoder: nn.Module, image: Tensor) -> None:
    """The optional methods, where there are any."""
    maps = getattr(encoder, "maps", None)
    if maps is not None:
        stages = maps(image)
        if not stages or any(not isinstance(m, Tensor) or m.dim() != 4 or m.shape[0] != 2 for m in stages):
            raise ValueError("maps(image) returns a list of maps [b, channels, y, x], shallow to deep")
        areas = [m.shape[2] * m.shape[3] for m in stages]
        if areas != sorted(areas, reverse=True):
            raise ValueError(f"maps(image) goes from shallow to deep, the number of positions goes {areas}")
    summary = getattr(encoder, "summary", None)
    if summary is not None and tuple(summary(image).shape) != (2, encoder.channels):
        raise ValueError(
            f"summary(image) returns [b, {encoder.channels}], got {tuple(summary(image).shape)} for two images"
        )
