"""Charts put their marks where the numbers say, and their words where they do not collide."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.vision.drawing import svg_charts
from sightline.vision.drawing.svg_charts import Bar, Curve, Point


def classed(svg: str, name: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(svg).iter() if name in (one.get("class") or "").split()]


@given(st.lists(st.floats(0, 100), max_size=12))
def test_labels_keep_their_distance_their_order_and_the_frame(wanted):
    placed = svg_charts.spread_labels(wanted, 0.0, 200.0)
    ordered = sorted(range(len(wanted)), key=lambda i: wanted[i])
    ys = [placed[i] for i in ordered]
    assert all(below - above >= svg_charts.LINE - 1e-6 for above, below in itertools.pairwise(ys))
    assert all(-1e-6 <= y <= 200 + 1e-6 for y in ys)


def test_labels_that_do_not_collide_stay():
    assert svg_charts.spread_labels([50.0, 10.0, 90.0], 0.0, 100.0) == [50.0, 10.0, 90.0]
    assert svg_charts.spread_labels([100.0, 100.0], 0.0, 100.0) == [86.0, 100.0]


def test_bars_are_as_long_as_scores():
    rows = [
        Bar("a", "learned", 1.0, 0.9, 1.0, 1.0),
        Bar("b", "unseen", 0.25, None, None, 0.5),
        Bar("c", "unknown", None),
    ]
    svg = svg_charts.bars(rows, 0.1, "t")
    whole, quarter = (float(bar.get("width")) for bar in classed(svg, "fill") if bar.tag == "rect")
    assert quarter == pytest.approx(0.25 * whole, abs=0.1)
    assert whole == pytest.approx(float(classed(svg, "track")[0].get("width")), abs=0.1)
    ceilings = [float(re.match(r"M([\d.]+)", tick.get("d")).group(1)) - 4 for tick in classed(svg, "ceiling")]
    assert ceilings == [pytest.approx(whole, abs=0.1), pytest.approx(0.5 * whole, abs=0.1)]
    chance = float(re.match(r"M([\d.]+)", classed(svg, "chance")[0].get("d")).group(1)) - 4
    assert chance == pytest.approx(0.1 * whole, abs=0.1)
    assert len(classed(svg, "whisker")) == 1
    words = [text.text for text in ElementTree.fromstring(svg).iter() if text.tag == "text"]
    assert {"a", "b", "c", "1.00", "0.25", "no score", "ceiling 0.50", "chance 0.10"} <= set(words)


def test_without_chance_no_line_is_drawn_and_a_note_stands_beside_the_name():
    svg = svg_charts.bars([Bar("road", "unknown", 0.5, note="12 % of the pixels")], None, "t")
    assert not classed(svg, "chance")
    assert "12 % of the pixels" in svg
    assert "chance" not in svg


def test_a_bar_is_marked_by_its_state_its_colour_or_not_at_all():
    marked, coloured, plain = (
        svg_charts.bars([Bar("a", "learned", 0.5, swatch=swatch)], None, "t") for swatch in (None, "#ff0000", "")
    )
    assert (marked.count("<circle"), coloured.count("<circle"), plain.count("<circle")) == (1, 0, 0)
    assert [key.get("style") for key in classed(coloured, "key")] == ["fill:#ff0000"]
    assert not classed(plain, "key")


def test_costs_are_logarithmic_and_scores_are_not():
    points = [Point("a", "learned", x, y) for x, y in ((1.0, 0.0), (10.0, 0.5), (100.0, 1.0))]
    svg = svg_charts.against_cost(points, str, 0.1, "t", "cost")
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in classed(svg, "fill")]
    assert dots[1][0] == pytest.approx((dots[0][0] + dots[2][0]) / 2, abs=0.1)
    assert dots[1][1] == pytest.approx((dots[0][1] + dots[2][1]) / 2, abs=0.1)
    assert dots[0][1] > dots[2][1]


def test_one_cost_for_all_is_drawn():
    assert len(classed(svg_charts.against_cost([Point("a", "learned", 5.0, 0.5)], str, 0.1, "t", "cost"), "fill")) == 1


def test_runs_of_one_name_share_one_label():
    runs = [Curve("a", "learned", [0.0, 1.0, 2.0], [0.0, 0.5, y]) for y in (0.8, 1.0)] + [
        Curve("b", "unseen", [0.0, 2.0], [0.0, 0.0])
    ]
    svg = svg_charts.curves(runs, "t", "steps", (0.0, 1.0), 0.1)
    words = [text.text for text in ElementTree.fromstring(svg).iter() if text.tag == "text"]
    assert len(classed(svg, "line")) == 3
    assert words.count("a") == words.count("b") == 1


def test_words_are_escaped():
    svg = svg_charts.bars([Bar("<b>&", "learned", 0.5)], 0.1, '"><script>')
    assert "<script>" not in svg
    assert "&lt;b&gt;&amp;" in svg


def test_states_are_told_apart_without_colour():
    shapes = {
        re.sub(r'class="[^"]*"', "", svg_charts.mark(state, 0.0, 0.0))
        for state in ("learned", "unlearned", "unseen", "unknown")
    }
    kinds = {
        re.search(r'class="(\w+)', svg_charts.mark(state, 0.0, 0.0)).group(1)
        for state in ("learned", "unseen", "unknown")
    }
    assert len(shapes) >= 3
    assert kinds == {"fill", "stroke", "ring"}
