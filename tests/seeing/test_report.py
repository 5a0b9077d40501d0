"""The page of what a network sees: its words, its packed sets against a reader written here, and what is missing."""

import base64
import dataclasses
import json
import math
import re
import zlib

import numpy as np
import pytest
from tests.seeing.made_up_report import H, W, layers, look, neurons, photograph, report

from sightline.seeing.report import packing
from sightline.seeing.report.contents import Effect, Missing, Report
from sightline.seeing.report.numbers import numbers_of
from sightline.seeing.report.page import explorer_data, packed_looks, page_of
from sightline.seeing.report.pictures import central_picture, edge, strip_picture
from sightline.seeing.report.sentences import answers, crossing, middle, percent
from sightline.seeing.report.write import write_report


def inflate(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (5, 7), (1, 1), (3, 16)])
def test_a_packed_set_is_read_bit_by_bit_as_the_page_does(h, w):
    sets = np.random.default_rng(0).random((6, h, w)) < 0.4
    stored = inflate(packing.packed_sets(sets))
    row = math.ceil(h * w / 8)
    assert stored.size == 6 * row
    for n in range(6):
        for at in range(h * w):
            bit = (stored[n * row + (at >> 3)] >> (7 - (at & 7))) & 1
            assert bool(bit) == sets[n, at // w, at % w]


def test_heat_keeps_its_order_and_its_sum():
    heat = np.array([[[0.0, 1.0], [4.0, 16.0]]])
    assert packing.as_bytes(heat).tolist() == [[[0, 64], [128, 255]]]
    assert packing.as_bytes(np.zeros((1, 2, 2))).max() == 0
    large = np.random.default_rng(1).random((2, 150, 97))
    small = packing.smaller(large, 4)
    assert small.shape == (2, 38, 25)
    np.testing.assert_allclose(small.sum((1, 2)), large.sum((1, 2)))
    np.testing.assert_array_equal(packing.smaller(large, 1), large)


def test_small_fields_get_small_cells_and_many_large_maps_do_not():
    assert packing.cell_of(196, (224, 224), 7) == 1
    assert packing.cell_of(196, (224, 224), 99) == 3
    assert packing.cell_of(49, (224, 224), 435) == 6
    assert packing.cell_of(196, (1024, 1024), 7) == 5
    assert packing.cell_of(1, (5, 1), 5) == 1


def test_the_smallest_set_is_found_by_hand():
    heat = np.array([[5.0, 3.0], [1.0, 1.0]])
    assert packing.area_of(heat, 0.5) == 0.25  # 5 of 10
    assert packing.area_of(heat, 0.51) == 0.5
    assert packing.level_of(heat, 0.8) == 3.0
    assert packing.level_of(heat, 0.95) == 1.0
    assert packing.area_of(heat, 1.0) == 1.0
    assert packing.level_of(np.zeros((2, 2)), 0.5) == math.inf
    assert packing.area_of(np.zeros((2, 2)), 0.5) == 0.0
    assert packing.level_bytes(np.zeros((1, 2, 2)), 0.5) == [256.0]


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_contour_on_bytes_holds_what_it_says(share):
    heats = neurons().heats
    small = packing.smaller(heats, 2)
    for heat, level in zip(small, packing.level_bytes(small, share), strict=True):
        inside = packing.as_bytes(heat) >= level
        assert heat[inside].sum() >= share * heat.sum()
        assert inside.mean() <= packing.area_of(heat, share) * 1.25 + 2 / heat.size  # cells that share its byte


def test_the_page_holds_every_part_and_needs_nothing_else():
    page = page_of(report())
    for words in ("What can it see?", "What does it see?", "Where does it look?", "made-up &amp; small", "structural"):
        assert words in page
    assert "fft &lt;odd&gt;" in page
    assert "absent" in page  # features were not asked for
    assert "No feature was asked for" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "url(" not in page
    assert "@import" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))
    assert page.count("<canvas") == 2 + 4
    assert len(page) < 15_000_000


def test_the_explorer_gets_the_sets_and_boxes_of_every_neuron():
    made = report()
    data = json.loads(re.search(r'id="seen">(.*?)</script>', page_of(made), re.DOTALL)[1])
    assert data["image"]["h"] == H
    assert data["image"]["w"] == W
    bits = np.unpackbits(inflate(data["neurons"]["sets"]).reshape(96, -1), axis=1)[:, : H * W]
    np.testing.assert_array_equal(bits.reshape(-1, H, W), made.neurons.sets)
    assert data["neurons"]["boxes"] == made.neurons.boxes.tolist()
    assert [step["exact"] for step in data["steps"]] == [True, True, False, True]
    assert len(inflate(data["looks"][0]["data"])) == 3 * 96 * 96


PARTS = ("layers", "effects", "neurons", "steps", "looks", "distances", "kernels", "features")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_failed_leaves_its_sentence_and_the_rest_stands(part):
    page = page_of(report(**{part: Missing(f"There is no part called {part} & why.")}))
    assert f"There is no part called {part} &amp; why." in page
    if part != "kernels":
        assert "8 filters of 7 \u00d7 7" in page
    if part != "neurons":
        assert 'id="picker"' in page


def test_a_page_of_nothing_is_still_written():
    page = page_of(report(**{part: Missing(f"no {part}") for part in PARTS}, main=()))
    assert all(f"no {part}" in page for part in PARTS)
    assert "<canvas" not in page


def test_the_three_answers():
    said = dict(answers(report()))
    cross = (8 * W + 8 * H - 64) / (H * W)
    assert f"can see {percent(cross)} of this image" in said["What can it see?"]
    assert "(structural)" in said["What can it see?"]
    assert "Half of its effect comes from 5.0" in said["What does it see?"]
    assert "20 pixels away" in said["Where does it look?"]
    assert "34 pixels" in said["Where does it look?"]
    assert "range from 12 to 36" in said["Where does it look?"]
    assert "(value-aware)" in dict(answers(report(kind="value-aware")))["What can it see?"]
    nothing = report(effects={"head.cross": Effect(0.0, 0.0)})
    assert "No gradient" in dict(answers(nothing))["What does it see?"]


def test_structural_and_value_aware_are_named_and_never_mixed():
    for kind, other in (("structural", "value-aware"), ("value-aware", "structural")):
        page = page_of(report(kind=kind))
        assert f"<strong>{kind}</strong> field" in page
        assert f"theoretical field ({kind})" in page
        assert f"theoretical field ({other})" not in page


def test_the_layer_where_theory_passes_the_image():
    assert crossing(report()).startswith("From stage2 on")
    assert crossing(report(main=("stem", "stage1"))).startswith("In no layer")
    assert 'class="crossing"' in page_of(report())
    assert 'class="crossing"' not in page_of(report(main=("stem", "stage1")))


def test_a_field_with_no_end_is_drawn_and_written():
    endless = dataclasses.replace(layers()[-1], size=(math.inf, math.inf), padding=None, stride=None)
    made = report(layers=(*layers()[:-1], endless))
    assert "no end \u00d7 no end" in page_of(made)
    assert "nan" not in page_of(made).split("<script")[0]
    assert numbers_of(made)["layers"][-1]["size"] == ["inf", "inf"]


def test_attention_keeps_to_its_budget():
    looks = [look(f"blocks.{i}") for i in range(6)]
    whole = packed_looks(looks, budget=10**9)
    size = sum(len(one["data"]) for one in whole)
    assert len(whole) == 6
    fewer = packed_looks(looks, budget=size - 1)
    assert [one["heads"] for one in fewer] == [("mean of the heads",)] * 6
    least = packed_looks(looks, budget=10)
    assert [one["layer"] for one in least] == ["blocks.5"]


def test_percent_says_all_and_nothing_of_those_alone():
    assert percent(1.0) == "100\u00a0%"
    assert percent(0.9999) == "99.9\u00a0%"
    assert percent(0.0) == "0.0\u00a0%"
    assert percent(1e-6) == "<\u00a00.1\u00a0%"
    assert percent(0.198) == "19.8\u00a0%"


def test_files_stand_beside_the_page(tmp_path):
    made: Report = report()
    path = write_report(made, tmp_path / "new" / "folder")
    assert path.name == "report.html"
    assert sorted(one.name for one in path.parent.iterdir()) == [
        "field.png", "kernels.png", "numbers.json", "report.html", "strip.png"
    ]  # fmt: skip
    numbers = json.loads((path.parent / "numbers.json").read_text())
    assert numbers["missing"] == {"features": "No feature was asked for: --features draws them."}
    assert numbers["layers"][0]["size"] == [7.0, 7.0]
    each = numbers["neurons"]["each"]
    assert len(each) == 96
    assert each[0]["pixels"] == 8 * W + 8 * H - 64
    assert "crossing" in numbers


def test_still_pictures_show_set_and_heat():
    one = neurons("c", shape="box", side=4)
    place = middle(one)
    drawn = central_picture(photograph(), one)
    scale = drawn.shape[0] // H
    line = edge(one.sets[place].repeat(scale, 0).repeat(scale, 1))
    assert (drawn[line] == 255).all()
    outside = ~one.sets[place].repeat(scale, 0).repeat(scale, 1)
    assert drawn[outside].max() < 0.35 * 255
    assert strip_picture(photograph(), [one, one]).shape[1] == 2 * drawn.shape[1] + 6
    assert edge(np.ones((3, 3), bool)).sum() == 8


def test_no_neuron_means_no_explorer():
    assert explorer_data(report(neurons=Missing("none"))) is None
