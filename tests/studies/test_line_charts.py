"""Charts stand where their numbers are, say them in words, and stand alone as files."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from sightline.studies.line_charts import Axis, Line, Spot, plot, powers, standalone
from sightline.vision.drawing.svg_charts import WIDTH

ACROSS, UP = Axis("steps", 0, 10, (0, 5, 10)), Axis("score", 0.1, 10, (0.1, 1, 10), log=True)


def test_an_axis_shares_out_evenly_or_by_logarithm_and_ends_at_its_border() -> None:
    assert [ACROSS.share(value) for value in (-3, 0, 5, 10, 99)] == [0, 0, 0.5, 1, 1]
    assert [UP.share(value) for value in (0.0, 0.1, 1, 10)] == pytest.approx([0, 0, 0.5, 1])
    assert powers(0.05, 1000) == pytest.approx([0.1, 1, 10, 100, 1000])


def test_a_line_a_band_and_a_spot_are_where_they_should_be() -> None:
    line = Line("mine", [(0, 1), (10, 10)], 2, band=[(0.1, 1), (1, 10)])
    chart = str(
        plot([line], ACROSS, UP, "told & said", spots=[Spot(5, 1, "two\nlines")], levels=[(1, "one")], height=100)
    )
    root = ElementTree.fromstring(chart)
    assert root.get("aria-label") == "told & said"
    words = ["".join(text.itertext()) for text in root.iter("text")]
    assert {"mine", "two", "lines", "one", "steps", "score", "0.1", "5"} <= set(words)
    paths = {path.get("class"): path.get("d") for path in root.iter("path")}
    x, y = map(float, re.findall(r"[\d.]+", str(paths["limit"]))[:2])
    begin = [float(one) for one in re.findall(r"[\d.]+", str(paths["law law2"]))]
    assert [
        float(one)
        for one in re.findall(r"[\d.]+", str(re.search(r'class="law law2" d="([^"]+L[^"]+)"', chart).group(1)))
    ][:2] == [x, y]
    assert begin
    assert str(paths["band band2"]).count("L") == 3
    (spot,) = root.iter("circle")
    assert float(spot.get("cy", 0)) == pytest.approx(y)


def test_a_file_of_its_own_is_whole() -> None:
    chart = standalone(plot([Line("mine", [(0, 1), (10, 10)])], ACROSS, UP, "told"))
    root = ElementTree.fromstring(chart)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox") == f"0 0 {WIDTH:.0f} 280"
    assert "prefers-color-scheme: dark" in chart
    assert ".law0" in chart
