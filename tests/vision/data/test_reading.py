"""Pixels from files: every kind of image means the same, and every kind of damage is one sentence."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from tests.vision.data.made_up_folders import write_image, write_mask

from sightline.vision.data.reading import image_size, read_image, read_mask


def hwc(path) -> np.ndarray:
    return read_image(path).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tif", "ppm"])
def test_what_was_saved_is_read(tmp_path, ending: str) -> None:
    options = {"lossless": True} if ending == "webp" else {}
    pixels = write_image(tmp_path / f"a.{ending}", (5, 7), **options)
    found = read_image(tmp_path / f"a.{ending}")
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    assert np.array_equal(hwc(tmp_path / f"a.{ending}"), pixels)


def test_a_photograph_is_nearly_what_was_saved(tmp_path) -> None:
    smooth = np.linspace(0, 250, 16 * 24).reshape(16, 24).astype(np.uint8)[..., None].repeat(3, -1)
    for mode in ("RGB", "CMYK", "L"):
        Image.fromarray(smooth).convert(mode).save(tmp_path / "a.jpg", quality=95)
        assert np.abs(hwc(tmp_path / "a.jpg").astype(int) - smooth).max() < 8, mode


def test_grey_is_three_equal_channels(tmp_path) -> None:
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
    for mode, image in (("L", Image.fromarray(grey)), ("LA", Image.fromarray(grey).convert("LA"))):
        image.save(tmp_path / "a.png")
        assert np.array_equal(hwc(tmp_path / "a.png"), np.stack([grey] * 3, -1)), mode


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, ending: str) -> None:
    deep = np.array([[0, 128, 129, 257], [32767, 32896, 65406, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{ending}")
    assert hwc(tmp_path / f"a.{ending}")[..., 1].tolist() == [[round(int(v) / 257) for v in row] for row in deep]


def test_thirty_two_bits_and_fractions_are_refused(tmp_path) -> None:
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif cannot be read: its pixels go from 0 to 70000, save it with 8 or 16"):
        read_image(tmp_path / "a.tif")
    Image.fromarray(np.array([[0, 0.5]], np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(ValueError, match=r"b\.tif cannot be read: it holds fractions without a range"):
        read_image(tmp_path / "b.tif")


def test_transparency_is_dropped_whichever_way_it_is_stored(tmp_path) -> None:
    pixels = write_image(tmp_path / "a.png")
    alpha = np.concatenate([pixels, np.full((5, 7, 1), 9, np.uint8)], -1)
    Image.fromarray(alpha).save(tmp_path / "b.png")
    assert np.array_equal(hwc(tmp_path / "b.png"), pixels)
    indexed = Image.fromarray(pixels).quantize(16)
    indexed.save(tmp_path / "c.png", transparency=bytes(range(16)))
    assert np.array_equal(hwc(tmp_path / "c.png"), np.array(indexed.convert("RGB")))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photograph_is_turned_upright(tmp_path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = write_image(tmp_path / "a.png", exif=exif)
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, 1),
    }[turn]
    assert np.array_equal(hwc(tmp_path / "a.png"), upright)
    assert image_size(tmp_path / "a.png") == (5, 7), "as stored"


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_a_mask_is_its_numbers(tmp_path, mode: str) -> None:
    stored = write_mask(tmp_path / "a.png", [0, 3, 255, *([300, 65535] if mode == "I;16" else [])], mode=mode)
    found = read_mask(tmp_path / "a.png")
    assert np.array_equal(found, stored)


def test_a_mask_of_two_values_is_zeros_and_ones(tmp_path) -> None:
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [[1, 0, 1]]


def test_pictures_are_no_masks(tmp_path) -> None:
    write_image(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is a RGB picture, and a mask has one number per pixel, its class"):
        read_mask(tmp_path / "a.png")
    Image.new("L", (4, 4)).save(tmp_path / "b.jpg")
    with pytest.raises(ValueError, match=r"b\.jpg is a JPEG, which changes the numbers of classes"):
        read_mask(tmp_path / "b.jpg")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_damage_names_the_file(tmp_path, read) -> None:
    write_mask(tmp_path / "a.png", range(200), (40, 50))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    for name, reason in (
        ("cut.png", "truncated"),
        ("empty.png", r"it is empty \(0 bytes\), no image"),
        ("text.png", "it is no image"),
        ("gone.png", "there is no such file"),
        ("", "directory"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / name))} cannot be read: .*{reason}"):
            read(tmp_path / name)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "ppm"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_cut_anywhere_is_an_image_or_one_sentence(tmp_path, ending: str) -> None:
    write_image(tmp_path / f"a.{ending}", (9, 11))
    whole = (tmp_path / f"a.{ending}").read_bytes()
    random = np.random.default_rng(0)
    path, sentences = tmp_path / f"b.{ending}", []
    for cut in np.linspace(0, len(whole) - 1, 60).astype(int):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        for data in (whole[:cut], bytes(damaged)):
            path.write_bytes(data)
            try:
                read_image(path)
            except ValueError as error:
                sentences.append(str(error))
    assert len(sentences) > 30
    assert all(sentence.startswith(f"{path} cannot be read: ") for sentence in sentences)


def test_far_too_many_pixels_are_refused(tmp_path, monkeypatch) -> None:
    write_image(tmp_path / "a.png", (9, 11))
    for limit in (40, 60):  # Pillow raises beyond twice the limit, and warns below that: an error here
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=rf"a\.png cannot be read: it has more pixels than .* = {limit}\): cut it"):
            read_image(tmp_path / "a.png")
