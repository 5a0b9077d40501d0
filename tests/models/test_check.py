"""The checker of encoders finds every way to break the contract, and says which it was."""

import pytest
import torch
from torch import Tensor, nn

from sightline.models.check import check_encoder

IMAGE = torch.Tensor


class Good(nn.Module):
    channels, stride = 8, 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 4, 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(image)


def broken(change: str) -> nn.Module:
    """A good encoder with one fault."""
    encoder = Good()
    run = encoder.forward

    def mixed(image: Tensor) -> Tensor:
        out = run(image)
        return out - out.mean(0, keepdim=True) if len(out) > 1 else out

    def spoils(image: Tensor) -> Tensor:
        out = run(image)
        with torch.no_grad():
            image += 1
        return out

    faults = {
        "tuple": lambda image: (run(image), run(image)),
        "tokens": lambda image: run(image).flatten(2),
        "half the batch": lambda image: run(image)[:1],
        "channels": lambda image: run(image)[:, :7],
        "fine": lambda image: nn.functional.interpolate(run(image), scale_factor=2),
        "swapped": lambda image: run(image).transpose(2, 3),
        "nan": lambda image: run(image) * float("nan"),
        "detached": lambda image: run(image).detach(),
        "rounded": lambda image: run(image).round(),
        "random": lambda image: run(image) + torch.rand(()),
        "mixed": mixed,
        "spoils": spoils,
    }
    encoder.forward = faults[change]
    return encoder


def test_a_good_encoder_passes_and_keeps_its_mode() -> None:
    encoder = nn.Module.train(Good())
    encoder.layer.eval()
    check_encoder(encoder)
    assert encoder.training
    assert not encoder.layer.training
    assert encoder.layer.weight.grad is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("tuple", r"returns one map, an image of 64 x 64 gave a tuple: put more into \.maps"),
        ("tokens", r"returns a map \[b, channels, y, x\], an image of 64 x 64 gave the shape \(2, 8, 256\)"),
        ("half the batch", "two images must give two maps"),
        ("channels", "says 8 channels, its map has 7"),
        ("fine", "says stride 4, but an image of 64 x 64 gave a map of 32 x 32"),
        ("swapped", "says stride 4, but an image of 64 x 96 gave a map of 24 x 16: height and width are swapped"),
        ("nan", "not all finite numbers"),
        ("detached", "no gradient reaches the image"),
        ("rounded", "no gradient reaches the image"),
        ("random", "random in evaluation mode"),
        ("mixed", "depends on the other images of its batch"),
        ("spoils", "changes the image"),
    ],
)
def test_every_fault_is_named(change: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_encoder(broken(change))


@pytest.mark.parametrize("name", ["channels", "stride"])
@pytest.mark.parametrize("number", [None, 0, 2.5])
def test_channels_and_stride_are_whole_numbers(name: str, number: object) -> None:
    encoder = Good()
    setattr(encoder, name, number)
    with pytest.raises(TypeError, match=rf"an encoder says its \.{name} as a positive whole number"):
        check_encoder(encoder)


def test_a_size_may_be_refused_only_if_the_stride_does_not_divide_it() -> None:
    class Refuses(Good):
        def forward(self, image: Tensor) -> Tensor:
            if image.shape[2] > 90 or image.shape[3] > self.limit:
                raise ValueError("too large")
            return super().forward(image)

        limit = 200

    encoder = Refuses()
    check_encoder(encoder)  # 97 x 65 is refused, and may be
    with pytest.raises(ValueError, match="refuses every size tried, 97 x 65: give sizes="):
        check_encoder(encoder, sizes=[(97, 65)])
    encoder.limit = 70
    with pytest.raises(ValueError, match="too large"):
        check_encoder(encoder)  # 64 x 96 is not


def test_optional_methods_are_checked_where_they_are() -> None:
    encoder = Good()
    encoder.maps = lambda image: [encoder(image)[:, :, ::2], encoder(image)]
    with pytest.raises(ValueError, match="shallow to deep, the number of positions goes"):
        check_encoder(encoder)
    encoder.maps = lambda image: []
    with pytest.raises(ValueError, match=r"maps\(image\) returns a list of maps"):
        check_encoder(encoder)
    encoder.maps = lambda image: [image, encoder(image)]
    encoder.summary = lambda image: encoder(image).mean((2, 3))[:, :5]
    with pytest.raises(ValueError, match=r"returns \[b, 8\], got \(2, 5\) for two images"):
        check_encoder(encoder)
    encoder.summary = lambda image: encoder(image).mean((2, 3))
    check_encoder(encoder)
