"""The first picture shows exact sets: each field against arithmetic on coordinates, and the pixels that are drawn."""

import numpy as np
import pytest
from PIL import Image

from sightline.studies import field_picture


@pytest.mark.parametrize(
    ("size", "query", "depth", "kernel"), [((9, 13), (2, 11), 2, 3), ((1, 7), (0, 3), 1, 5), ((6, 1), (5, 0), 3, 3)]
)
def test_fields_are_the_sets_that_arithmetic_gives(size, query, depth, kernel):
    rows, columns = np.indices(size)
    far = depth * (kernel // 2)
    near = (abs(rows - query[0]) <= far) & (abs(columns - query[1]) <= far)
    cross = (rows == query[0]) | (columns == query[1])
    expected = [near, cross, np.ones(size, bool), np.ones(size, bool)]
    got = field_picture.fields(size, query, depth, kernel)
    for one, seen in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.seen, seen, err_msg=one.name)
        assert one.share == pytest.approx(seen.sum() / seen.size)


def test_a_field_one_pixel_short_of_everything_is_not_called_everything():
    seen = np.ones((50, 50), bool)
    assert "100 %" in field_picture.Field("a", "b", seen).sentence
    seen[0, 0] = False
    assert field_picture.Field("a", "b", seen).sentence == "sees 99.9 % of the pixels"


def test_unseen_pixels_are_darker_and_grey_and_seen_ones_are_untouched():
    photo = np.random.default_rng(0).integers(30, 256, (5, 4, 3)).astype(np.uint8)
    seen = np.zeros((5, 4), bool)
    seen[2, 1:3] = True
    lit = field_picture.lit(photo, seen)
    np.testing.assert_array_equal(lit[seen], photo[seen])
    assert (lit[~seen].max(axis=1) == lit[~seen].min(axis=1)).all()
    assert (lit[~seen].max(axis=1) < 0.5 * photo[~seen].max(axis=1)).all()


def test_the_outline_of_one_pixel_is_its_four_sides():
    seen = np.zeros((3, 5), bool)
    seen[1, 4] = True
    sides = {tuple(sorted(side)) for side in field_picture.outline(seen)}
    assert sides == {
        ((3.5, 0.5), (4.5, 0.5)),
        ((3.5, 1.5), (4.5, 1.5)),
        ((3.5, 0.5), (3.5, 1.5)),
        ((4.5, 0.5), (4.5, 1.5)),
    }


def test_a_query_outside_the_picture_is_refused_in_one_sentence():
    with pytest.raises(
        ValueError, match=r"asked for the field of pixel \(4, 9\), but the picture has 5 rows and 6 col"
    ):
        field_picture.fields((5, 6), (4, 9))


def test_draw_writes_one_picture_that_is_dim_outside_the_fields_only(tmp_path):
    path = field_picture.draw(tmp_path / "new", width=40, depth=2)
    assert path == tmp_path / "new" / "fields.png"
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L")).astype(float)
    middle = grey[int(0.35 * len(grey)) : int(0.75 * len(grey))]  # inside the photographs, titles left out
    convolution, once, twice, non_local = (part.mean() for part in np.array_split(middle, 4, axis=1))
    assert max(convolution, once) < 0.7 * min(twice, non_local)


def test_draw_in_two_columns_is_taller_and_deterministic(tmp_path):
    wide = field_picture.draw(tmp_path, width=30, depth=1)
    first = field_picture.draw(tmp_path, width=30, depth=1, columns=2, name="a.png")
    second = field_picture.draw(tmp_path, width=30, depth=1, columns=2, name="b.png")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(wide) as four, Image.open(first) as two:
        assert two.width < four.width
        assert two.height > four.height
