"""Top patches equal a search over every position of every image, and find what was planted where it was planted."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sightline.seeing.top_patches import GREY, Box, Patch, fitted, read, top_patches


def small() -> nn.Sequential:
    """Every unit sees 8 x 8 pixels, three of them before its own cell of 2 x 2."""
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 4, 3, padding=1), nn.ReLU()
    )


class Stub:
    """The fields of `small` by arithmetic, and nothing more than a box."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def hull(self, layer: str, position: tuple[int, int]) -> Box:
        (h, w), (y, x) = self.size, position
        return max(0, 2 * y - 3), min(h - 1, 2 * y + 4), max(0, 2 * x - 3), min(w - 1, 2 * x + 4)


def photos(count: int, size: tuple[int, int] = (20, 24)) -> list[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    return [(f"photo {i}", torch.rand(3, *size, generator=generator)) for i in range(count)]


def everywhere(net: nn.Module, images: list[tuple[str, Tensor]], channel: int) -> list[tuple[float, str, int, int]]:
    """Every response of a channel, the strongest first."""
    found = []
    for name, image in images:
        response = net(image[None])[0, channel].detach()
        found += [
            (float(response[y, x]), name, y, x) for y in range(response.shape[0]) for x in range(response.shape[1])
        ]
    return sorted(found, key=lambda one: -one[0])


def overlapping(one: Box, other: Box) -> bool:
    pixels = [{(y, x) for y in range(b[0], b[1] + 1) for x in range(b[2], b[3] + 1)} for b in (one, other)]
    return bool(pixels[0] & pixels[1])


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_equals_a_search_over_everything(overlap: bool, batch: int) -> None:
    net, images, fields = small(), photos(7), Stub((20, 24))
    got = top_patches(net, images, "", [2, 0], 6, overlap=overlap, batch=batch, fields=fields)
    assert [patch.channel for patch in got] == [2] * 6 + [0] * 6
    for channel in (2, 0):
        wanted: list[tuple[float, str, int, int]] = []
        for one in everywhere(net, images, channel):
            box = fields.hull("", one[2:])
            clash = any(name == one[1] and overlapping(box, fields.hull("", (y, x))) for _, name, y, x in wanted)
            if overlap or not clash:
                wanted.append(one)
        mine = [patch for patch in got if patch.channel == channel]
        assert [(p.image, *p.position) for p in mine] == [one[1:] for one in wanted[:6]]
        torch.testing.assert_close([p.response for p in mine], [one[0] for one in wanted[:6]])
        for patch in mine:
            top, bottom, left, right = patch.box
            assert patch.box == fields.hull("", patch.position)
            torch.testing.assert_close(patch.crop, dict(images)[patch.image][:, top : bottom + 1, left : right + 1])


def test_crops_are_all_that_the_unit_needs() -> None:
    """With the engine's own fields: a crop put on grey gives the response again; at the border grey fills the rest."""
    net = nn.Sequential(nn.ConstantPad2d(4, 0.0), small())  # zero padding of both convolutions stays outside
    images = photos(4)
    got = top_patches(net, images, "1.3", [0, 1, 3], 40)
    at_border = 0
    for patch in got:
        assert patch.crop.shape == (3, 8, 8)
        top, bottom, left, right = patch.box
        inside = dict(images)[patch.image][:, top : bottom + 1, left : right + 1]
        up, before = max(0, 7 - (2 * patch.position[0] + 4 - 4)), max(0, 7 - (2 * patch.position[1] + 4 - 4))
        torch.testing.assert_close(
            patch.crop[:, up : up + bottom - top + 1, before : before + right - left + 1], inside
        )
        grey = torch.ones(8, 8, dtype=torch.bool)
        grey[up : up + bottom - top + 1, before : before + right - left + 1] = False
        assert (patch.crop[:, grey] == GREY).all()
        at_border += bool(grey.any())
        alone = torch.full((3, 20, 24), GREY)
        alone[:, top : bottom + 1, left : right + 1] = inside
        response = net[1][:4](net[0](alone[None]))[0, patch.channel, patch.position[0], patch.position[1]]
        torch.testing.assert_close(response, torch.tensor(patch.response))  # both were computed in float32
    assert at_border > 3


def test_a_planted_pattern_is_found_at_its_place() -> None:
    net = nn.Conv2d(3, 2, 5, padding=2)
    images = photos(5, (16, 18))
    pattern = (net.weight[1] > 0).float().detach()
    images[3][1][:, 8:13, 2:7] = pattern
    best = top_patches(net, images, "", 1, 2)
    assert (best[0].image, best[0].position) == ("photo 3", (10, 4))
    assert best[0].box == (8, 12, 2, 6)
    torch.testing.assert_close(best[0].crop, pattern)
    assert best[1].response < best[0].response


def test_images_of_other_sizes_are_covered_and_cut() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    ramp = torch.stack([y / 40, x / 60, 0 * x])
    got = fitted(ramp, (20, 20))  # half as high, 30 wide, of which the middle 20
    assert got.shape == (3, 20, 20)
    inside = slice(2, -2)
    wanted_y, wanted_x = (2 * torch.arange(20.0) + 0.5) / 40, (2 * (torch.arange(20.0) + 5) + 0.5) / 60
    torch.testing.assert_close(got[0, inside, inside], wanted_y[inside, None].expand(-1, 16), rtol=0, atol=1e-4)
    torch.testing.assert_close(got[1, inside, inside], wanted_x[None, inside].expand(16, -1), rtol=0, atol=1e-4)
    assert fitted(ramp, (50, 41)).shape == (3, 50, 41)
    torch.testing.assert_close(fitted(ramp, (40, 60)), ramp, rtol=0, atol=0)
    torch.testing.assert_close(fitted(ramp, (40, 20)), ramp[:, :, 20:40], rtol=0, atol=0)

    stripes = (torch.arange(60.0) % 2).expand(3, 60, 60)
    thin = fitted(stripes, (12, 12))[:, :, 1:-1]  # too fine to be seen when a fifth as large
    torch.testing.assert_close(thin, torch.full_like(thin, 0.5), rtol=0, atol=0.1)

    images = [*photos(2), ("larger", torch.rand(3, 50, 37)), ("smaller", torch.rand(3, 7, 9))]
    net = small()
    got = top_patches(net, images, "", 0, 30, overlap=True)
    resized = [(name, fitted(image, (20, 24))) for name, image in images]
    assert [(p.image, *p.position) for p in got] == [one[1:] for one in everywhere(net, resized, 0)[:30]]


def test_broken_images_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(tmp_path / "one.png")
    Image.fromarray(pixels[1]).save(tmp_path / "two.png")
    whole = (tmp_path / "two.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.jpg").write_text("no image")
    said: list[str] = []
    paths = [tmp_path / name for name in ("words.jpg", "one.png", "cut.png", "missing.png", "two.png")]
    images: list[Path | str | tuple[str, Tensor]] = [*paths[:-1], str(paths[-1]), ("grey", torch.rand(1, 20, 24))]
    got = top_patches(small(), images, "", 1, 50, overlap=True, complain=said.append)
    assert {patch.image for patch in got} == {"one.png", "two.png"}
    assert len(said) == 4
    for sentence, name in zip(said[:3], ("words.jpg", "cut.png", "missing.png"), strict=True):
        assert sentence.startswith(f"{tmp_path / name} is left out, it cannot be read as an image: ")
    assert (
        said[3] == "grey is left out: an image of 3 channels is a float tensor [3, h, w], this is float32 [1, 20, 24]"
    )
    with pytest.warns(UserWarning, match=r"words.jpg is left out"):
        top_patches(small(), paths[:2], "", 1)
    with pytest.raises(ValueError, match="top patches were asked of no image that can be used: name some"):
        top_patches(small(), paths[:1], "", 1, complain=said.append)


def test_files_are_read_as_they_look(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    torch.testing.assert_close(read(tmp_path / "colour.png"), torch.from_numpy(pixels.transpose(2, 0, 1) / 255).float())
    deep = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1900
    Image.fromarray(deep).save(tmp_path / "deep.png")
    torch.testing.assert_close(
        read(tmp_path / "deep.png", 1)[0], torch.from_numpy(deep / 65535).float(), rtol=0, atol=1 / 255
    )
    assert read(tmp_path / "deep.png").shape == (3, 5, 7)
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    torch.testing.assert_close(read(tmp_path / "turned.png"), read(tmp_path / "colour.png").rot90(-1, (1, 2)))
    with pytest.raises(ValueError, match="a file has 1 or 3 channels, 4 were asked: give tensors instead"):
        read(tmp_path / "colour.png", 4)


def test_images_stream(tmp_path: Path) -> None:
    """No more than a batch of images is alive at once."""
    alive: list[int] = []
    seen = 0

    def stream() -> Iterator[tuple[str, Tensor]]:
        nonlocal seen
        for name, image in photos(30):
            alive.append(seen)
            yield name, image

    def count(batch: Tensor) -> Tensor:
        nonlocal seen
        seen += len(batch)
        return batch

    top_patches(small(), stream(), "", [0, 1], 3, batch=4, prepare=count, fields=Stub((20, 24)))
    assert [i - done for i, done in enumerate(alive)] == [i % 4 for i in range(30)]


class Numbers(nn.Module):
    """A vector: how bright each colour is."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_a_vector_sees_the_whole_image() -> None:
    images = photos(5)
    got = top_patches(Numbers(), images, "", 1, 2)
    order = sorted(images, key=lambda one: -float(one[1][1].mean()))
    assert [(patch.image, patch.position, patch.box) for patch in got] == [
        (name, (0, 0), (0, 19, 0, 23)) for name, _ in order[:2]
    ]
    torch.testing.assert_close(got[0].crop, order[0][1])


class Sometimes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, 0] = torch.nan
        return x


def test_nan_is_no_response_and_ties_go_to_the_first() -> None:
    got = top_patches(Sometimes(), [("a", torch.ones(3, 3, 2)), ("b", torch.ones(3, 3, 2))], "", 0, 5)
    assert [(p.image, p.position) for p in got] == [
        ("a", (1, 0)), ("a", (1, 1)), ("a", (2, 0)), ("a", (2, 1)), ("b", (1, 0))
    ]  # fmt: skip


def test_a_module_that_runs_twice_is_taken_by_its_last_run() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    got = top_patches(nn.Sequential(conv, nn.ReLU(), conv), photos(2), "0", 0, 3)
    assert {patch.crop.shape for patch in got} == {(3, 5, 5)}


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    got: list[Patch] = top_patches(net, photos(2), "1", 0, 2)
    assert len(got) == 2
    assert net.training
    assert net[1].training
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_what_does_not_exist_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"the network has no layer 'x': the nearest name is"):
        top_patches(small(), photos(1), "x", 0)
    with pytest.raises(ValueError, match=r"channel 4 was asked of '3', whose channels go from 0 to 3"):
        top_patches(small(), photos(1), "3", 4)
