"""Charts of laws and tables of tiles: numbers, not looks."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from sightline.studies.charts import Law, Tile, heat, log_log, ticks


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.5, 2e4, 9) == [1, 10, 100, 1000, 10000]
    assert ticks(0.5, 2e4, 3) == [1, 100, 10000]
    assert ticks(3, 60, 9) == [5, 10, 20, 50]
    assert ticks(100, 5000, 9, base=2.0) == [128, 256, 512, 1024, 2048, 4096]


def test_a_power_law_is_a_straight_line_and_the_limit_lies_where_it_is_met() -> None:
    law = Law("<square>", [(x, x**2) for x in (10, 100, 1000)], [(10000, 1e8)], (10000, 1e8))
    chart = log_log([law], "squares", "side", lambda value: f"{value:g} u", limit=1e8, limit_name="1e8 u")
    ElementTree.fromstring(chart)
    assert "&lt;square&gt;" in chart
    path = re.search(r'class="law law0" d="M([^"]*)"', chart).group(1)
    (a, b), (c, d), (e, f) = ([float(one) for one in place.split()] for place in path.split("L"))
    assert c - a == pytest.approx(e - c, abs=0.2)
    assert d - b == pytest.approx(f - d, abs=0.2)
    limit = float(re.search(r'class="limit" d="M[\d.]+ ([\d.]+)H', chart).group(1))
    ring = re.search(r'<circle class="law law0" cx="([\d.]+)" cy="([\d.]+)" r="5"', chart)
    assert float(ring.group(2)) == limit
    assert float(ring.group(1)) == pytest.approx(e + (e - c), abs=0.3)


def test_tiles_darken_from_chance_to_one() -> None:
    table = heat([("a & b", [Tile(0.1), Tile(1.0, 0.9, 1.0), Tile(None, note="none")])], ["8", "12", "x"], 0.1, "8")
    ElementTree.fromstring(str(table))
    assert "a &amp; b" in table
    assert "rgb(255,255,255)" in table
    assert "rgb(8,81,156)" in table
    assert "0.90\u20131.00" in table
    assert ">none<" in table
    assert table.count("trained") == 1
