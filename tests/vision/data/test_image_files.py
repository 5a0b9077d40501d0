"""What a user names becomes a list of images, none twice, none lost, each with a name of its own."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.vision.data.image_files import find_images
from sightline.vision.data.reading import read_image


def draw(path, size=(5, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_a_folder_counts_as_its_images_and_none_comes_twice(tmp_path):
    for name in ("b.png", "a.JPG", "deep/c.png", ".hidden.png", ".git/d.png", "out/masks/b.png"):
        draw(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = find_images([tmp_path / "deep" / "c.png", tmp_path], leave_out=tmp_path / "out")
    assert [file.name for file in found] == ["c", "a", "b"]
    assert [file.path.name for file in found] == ["c.png", "a.JPG", "b.png"]
    assert [file.name for file in find_images([tmp_path], leave_out=tmp_path / "out")] == ["a", "b", "deep/c"]


def test_images_that_share_a_name_are_told_apart(tmp_path):
    for name in ("x/a.png", "x/a.jpg", "y/a.png", "z/a.png", "x/b.png"):
        draw(tmp_path / name)
    names = [file.name for file in find_images([tmp_path / "x", tmp_path / "y", tmp_path / "z" / "a.png"])]
    assert names == ["a.jpg", "a.png", "b", "a.png-2", "a.png-3"]


def test_what_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no image or folder {tmp_path / 'none'}"):
        find_images([tmp_path / "none"])
    with pytest.raises(ValueError, match=f"there is no image in {tmp_path}: images end in .bmp"):
        find_images([tmp_path])
    with pytest.raises(ValueError, match="no image was given: name files, or folders"):
        find_images([])


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_every_kind_of_image_is_read_as_red_green_and_blue(tmp_path, mode):
    pixels = draw(tmp_path / "a.png")
    Image.fromarray(pixels).convert(mode).save(tmp_path / "b.png")
    found = read_image(tmp_path / "b.png")
    assert found.shape == (3, 4, 5)
    assert found.dtype == torch.uint8
    if mode in ("RGB", "RGBA"):
        assert np.array_equal(found.permute(1, 2, 0).numpy(), pixels)


def test_a_photograph_is_turned_upright(tmp_path):
    pixels = draw(tmp_path / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side: turn by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "b.png", exif=turned)
    assert np.array_equal(read_image(tmp_path / "b.png").permute(1, 2, 0).numpy(), np.rot90(pixels, -1))


def test_broken_images_are_named(tmp_path):
    draw(tmp_path / "a.png", (50, 40))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, reason in (("cut.png", "image file is truncated"), ("text.png", "no image"), ("empty.jpg", "no image")):
        with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path / name))} cannot be read: .*{reason}"):
            read_image(tmp_path / name)
