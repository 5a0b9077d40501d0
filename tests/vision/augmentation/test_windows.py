"""Windows against Pillow and against loops; image and mask keep the same edges through every crop and resize."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.vision.augmentation.windows import (
    Window,
    centre,
    cut_image,
    cut_mask,
    draw_area_size,
    draw_place,
    inside_image,
    scaled_size,
)

FILL, IGNORE = (124, 116, 104), 255
# Inside at its own size, larger, smaller, of another shape; beyond each side; the whole image inside; not even touching
WINDOWS = [
    (Window(2, 3, 20, 24), (20, 24)),
    (Window(2, 3, 10, 12), (20, 24)),
    (Window(0, 0, 40, 50), (17, 23)),
    (Window(5, 1, 13, 31), (20, 24)),
    (Window(-7, 3, 20, 24), (31, 24)),
    (Window(30, 40, 20, 24), (20, 24)),
    (Window(-10, -15, 60, 80), (45, 37)),
    (Window(-30, 2, 20, 24), (9, 9)),
]


def blobs(h: int, w: int, classes: int = 4, seed: int = 0) -> torch.Tensor:
    """A mask of rectangles, each drawn over the ones before."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(h, w, dtype=torch.long)
    for _ in range(6):
        top, left = (int(torch.randint(side, (), generator=generator)) for side in (h, w))
        mask[top : top + h // 3, left : left + w // 3] = torch.randint(classes, (), generator=generator)
    return mask


@pytest.mark.parametrize(("window", "size"), WINDOWS)
def test_a_mask_is_read_where_the_centre_of_each_pixel_falls(window, size):
    mask = torch.arange(40 * 50).reshape(40, 50)
    found = cut_mask(mask, window, size, IGNORE - 300)
    for i in range(size[0]):
        for j in range(size[1]):
            y = math.floor(window.top + (i + 0.5) * window.height / size[0])
            x = math.floor(window.left + (j + 0.5) * window.width / size[1])
            expected = y * 50 + x if 0 <= y < 40 and 0 <= x < 50 else IGNORE - 300
            assert found[i, j] == expected


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("window", "size"), WINDOWS[:4])
def test_an_image_is_resized_as_by_pillow(window, size, interleaved):
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    if interleaved:  # as files are read
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    top, left, height, width = window
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
    resized = np.array(picture.resize(size[::-1], Image.Resampling.BILINEAR), dtype=int)
    found = cut_image(image, window, size, FILL)
    assert found.is_contiguous()
    assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - resized).max() <= 1


@pytest.mark.parametrize(("window", "size"), WINDOWS)
def test_fill_and_ignored_labels_are_the_same_pixels(window, size):
    image = torch.full((3, 40, 50), 9, dtype=torch.uint8)
    mask = torch.zeros(40, 50, dtype=torch.long)
    labels = cut_mask(mask, window, size, IGNORE)
    colours = cut_image(image, window, size, FILL)
    assert torch.equal((colours == torch.tensor(FILL)[:, None, None]).all(0), labels == IGNORE)
    assert torch.equal((colours == 9).all(0), labels == 0)  # no fill colour bleeds into the image
    rows, columns = inside_image(window, size, (40, 50))
    assert (labels[rows, columns] == 0).all()
    assert int((labels == 0).sum()) == labels[rows, columns].numel()


@pytest.mark.parametrize(("window", "size"), WINDOWS)
def test_an_image_that_is_its_mask_keeps_the_mask_s_edges(window, size):
    """Black and white halves: wherever the kernel's average is more than half white, the mask must say white.

    A kernel that is symmetric about the centre of a pixel gives half at an edge through that centre, and more on the
    white side; a shift of half a pixel between image and mask shows on every edge.
    """
    for axis, edge in [(0, 11), (0, 29), (1, 17), (1, 38)]:
        mask = torch.zeros(40, 50, dtype=torch.long)
        mask[(slice(edge, None), slice(None)) if axis == 0 else (slice(None), slice(edge, None))] = 1
        image = (255 * mask).to(torch.uint8).repeat(3, 1, 1)
        labels = cut_mask(mask, window, size, IGNORE)
        grey = cut_image(image, window, size, FILL)[0].int()
        sure = (labels != IGNORE) & ((grey < 127) | (grey > 128))  # a centre on the edge is undecided
        assert torch.equal(labels[sure], (grey[sure] > 128).long())
        assert ((grey >= 127) & (grey <= 128) & (labels != IGNORE)).sum() <= size[1 - axis]


@pytest.mark.parametrize(("window", "size"), WINDOWS)
def test_inside_every_region_the_colour_is_the_class_s(window, size):
    colours = torch.tensor([[0, 0, 0], [250, 10, 20], [20, 240, 30], [40, 50, 230]], dtype=torch.uint8)
    mask = blobs(40, 50)
    image = colours[mask].permute(2, 0, 1).contiguous()
    labels, found = cut_mask(mask, window, size, IGNORE), cut_image(image, window, size, FILL)
    pure = 0
    for i, j in (labels != IGNORE).nonzero().tolist():
        read = []
        for start, length, n, place, limit in zip(window[:2], window[2:], size, (i, j), (40, 50), strict=True):
            at, reach = start + (place + 0.5) * length / n, max(1, length / n)  # the kernel's, in pixels of the image
            read.append(slice(max(0, math.floor(at - reach)), min(limit, math.ceil(at + reach))))
        if (mask[tuple(read)] == labels[i, j]).all():
            pure += 1
            assert torch.equal(found[:, i, j], colours[labels[i, j]])
    assert pure >= 0.3 * (labels != IGNORE).sum()


def test_places_are_evenly_distributed_and_always_touch_the_image():
    generator = torch.Generator().manual_seed(0)
    inside = [draw_place((10, 12), (8, 9), generator) for _ in range(1200)]
    found = np.array([(w.top, w.left) for w in inside])
    for column, count in ((found[:, 0], 3), (found[:, 1], 4)):
        values, times = np.unique(column, return_counts=True)
        assert values.tolist() == list(range(count))
        assert np.abs(times - 1200 / count).max() < 4 * math.sqrt(1200 / count)
    around = [draw_place((10, 12), (13, 12), generator) for _ in range(400)]
    assert {w.top for w in around} == {-3, -2, -1, 0}
    assert {w.left for w in around} == {0}


def test_inception_crops_have_the_area_and_shape_that_were_asked_for():
    generator = torch.Generator().manual_seed(0)
    sizes = np.array([draw_area_size((400, 500), (0.08, 1.0), (3 / 4, 4 / 3), generator) for _ in range(2000)])
    area = sizes.prod(1) / (400 * 500)
    assert area.min() > 0.079
    assert area.max() <= 1
    times, _ = np.histogram(area, 4, (0.08, 0.6))  # where every ratio fits
    assert np.abs(times - times.mean()).max() < 4 * math.sqrt(times.mean())
    shape = sizes[:, 1] / sizes[:, 0]
    assert shape.min() > 0.74
    assert shape.max() < 1.35
    small = area < 0.5
    assert abs((np.log(shape[small]) > 0).mean() - 0.5) < 0.06
    wide = [draw_area_size((400, 500), (0.1, 0.2), (2.0, 3.0), generator) for _ in range(50)]
    assert all(1.9 < w / h < 3.1 for h, w in wide)
    # An image of which no allowed window has the allowed area: the largest of an allowed ratio
    assert draw_area_size((100, 1000), (0.9, 1.0), (0.5, 2.0), generator) == (100, 200)
    assert draw_area_size((1000, 100), (0.9, 1.0), (0.5, 2.0), generator) == (200, 100)


def test_sizes_and_centres():
    assert scaled_size((512, 512), 0.5) == (1024, 1024)
    assert scaled_size((512, 256), 2.0) == (256, 128)
    assert scaled_size((8, 8), 100.0) == (1, 1)
    assert centre((10, 11), (4, 4)) == Window(3, 3, 4, 4)
    assert centre((4, 4), (10, 8)) == Window(-3, -2, 10, 8)
