"""The page says what the results say, needs no network, survives hostile names and unfinished studies, and answers."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from markupsafe import escape
from tests.studies.long_range.made_up_study import FIELDS, SCORES, canvases, results, scene_of
from tests.studies.page_reader import Reader

from sightline.studies.long_range import page
from sightline.studies.long_range.scenes import Scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene_of(canvases(seed=seed), seed) for seed in range(2)]


def page_of(folder, made, scenes) -> str:
    path = page.write_page(folder, made, scenes)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_page_needs_nothing_else(tmp_path, scenes):
    page = page_of(tmp_path / "new", results(), scenes)
    read = Reader(page)
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    assert len(read.addresses) >= 12
    assert not {"link", "iframe", "object", "embed"} & set(read.tags)
    assert "@import" not in page
    assert "url(" not in page
    assert read.missing_alt == []
    assert len(page) < 5_000_000
    assert (tmp_path / "new" / "strip.png").stat().st_size > 1000


def test_the_page_repeats_verdicts_sentences_settings_and_costs(tmp_path, scenes):
    words = " ".join(Reader(page_of(tmp_path, results(seeds=3), scenes)).words.split())
    for name in FIELDS:
        assert f"{name} says this." in words
    scored = {name: f"{name} ({100 * SCORES[name]:.0f} %)" for name in FIELDS}
    assert f"Yes: {scored['criss-cross R=2']} and {scored['non-local']}." in words
    assert f"No, it did not learn it in this budget: {scored['criss-cross R=1']}." in words
    assert f"No, it cannot see enough: {scored['deep convolutions']}." in words
    for expected in (
        "57.3 k",
        "1.5 G",
        "45 MB",
        "10 s",
        "0.970",
        "0.960 to 0.980",
        "sightline study long-range --demo",
    ):
        assert expected in words
    for expected in ("two cores", "versions: torch", "2.13.0", "settings: canvas", "[4, 5]", "averaged over seeds"):
        assert expected in words
    assert "unfinished" not in words


def test_hostile_names_stay_text(tmp_path, scenes):
    bad = "</script><script>alert('R=1')</script>&<img src=x>"
    made = results(names=("non-local",), command=bad, machine=bad, settings={bad: bad}, versions={bad: [bad]})
    for row in made["rows"] + made["summary"]:
        row.update(network=bad, sentence=bad)
    renamed = [Scene(s.image, s.truth, [bad] * 4, s.prediction, s.looks, s.reach, s.effect) for s in scenes]
    page = page_of(tmp_path, made, renamed)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert Reader(page).tags.count("script") == 2
    assert str(escape(bad)) in page
    data = re.search(r'<script type="application/json" id="scene-data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data.group(1))[0]["networks"] == [bad] * 4


@pytest.mark.parametrize("names", [(), ("deep convolutions",)])
def test_an_unfinished_study_gives_a_page_of_what_is_there(tmp_path, names):
    words = " ".join(Reader(page_of(tmp_path, results(names=names, finished=False), [])).words.split())
    assert "This study is unfinished." in words
    assert f"{len(names)} run{'s are' if not names else ' is'} done" in words
    assert "There is no test canvas to ask yet." in words
    assert ("No network has a verdict yet." in words) == (not names)
    assert "sees every pixel" in words  # the first picture needs no training
    assert not (tmp_path / "strip.png").exists()


def test_what_was_not_measured_is_a_dash_and_no_chart(tmp_path, scenes):
    made = results()
    for row in made["rows"] + made["summary"]:
        for name in ("flops", "peak_memory", "ceiling", "score_low", "sentence"):
            row[name] = None
        row.pop("curve", None)
    words = " ".join(Reader(page_of(tmp_path, made, scenes)).words.split())
    assert "operations of one canvas" not in words
    assert "How did they learn?" not in words
    assert "processor seconds of training" in words
    made["summary"][0].update(score_mean=None, verdict=None)
    assert "no score" in Reader(page_of(tmp_path, made, scenes)).words


def test_a_cost_that_the_summary_lacks_is_the_mean_of_the_runs():
    made = results(seeds=3)
    summary = made["summary"][0] | {"seconds": None}
    assert page.cost_of(made, summary, "seconds") == pytest.approx(11.0)
    assert page.cost_of(made, made["summary"][0], "seconds") == 10.0
    assert page.cost_of(made, summary, "weight") is None


def test_the_page_opens_with_the_setting_of_its_canvases(tmp_path):
    made = results(
        groups=(("recall", 2), ("recall", 4), ("recall", 8), ("key-class", 8)), chance={"recall": 0.1, "key-class": 0.5}
    )
    groups = page.groups_of(made)
    for digits in (2, 4, 8):
        shown = [scene_of(canvases(digits=digits, cells=(5, 5)))]
        assert page.main_group(groups, shown) == ("recall", digits)
    assert page.main_group(groups, []) == ("recall", 8)
    assert page.main_group({}, []) is None
    words = " ".join(Reader(page_of(tmp_path, made, [])).words.split())
    assert "chance 0.50" in words
    assert "Key-class, 8 digits" in words
    assert "Verdicts in the other settings" in words


def test_every_chart_is_well_formed(tmp_path, scenes):
    page = page_of(tmp_path, results(seeds=2), scenes)
    charts = re.findall(r"<svg[^>]*>.*?</svg>", page, re.DOTALL)
    assert len(charts) > 20
    for chart in charts:
        ElementTree.fromstring(chart.replace(' aria-hidden="true"', ""))


def test_every_verdict_of_the_study_has_a_state():
    from sightline.studies.long_range import page, verdicts

    states = [page.state_of(v) for v in (verdicts.LEARNED, verdicts.DID_NOT_LEARN, verdicts.CANNOT_SEE)]
    assert states == ["learned", "unlearned", "unseen"]
    assert page.state_of(None) == page.state_of("") == "unknown"


def test_a_large_map_keeps_the_page_light(tmp_path):
    rng = np.random.default_rng(0)
    looks = rng.random((6, 400, 20, 20)).astype(np.float16)
    truth = np.full((80, 80), -100)
    truth[8:16, 8:16] = 3
    image = rng.integers(0, 256, (80, 80, 3)).astype(np.uint8)
    reach = np.ones((6, 400, 10, 10), bool)
    big = Scene(image, truth, list("abcdef"), np.zeros((6, 80, 80), int), looks, reach, reach / np.float16(100))
    page = page_of(tmp_path, results(), [big] * 9)
    assert len(page) < 5_000_000
    data = re.search(r'id="scene-data">(.*?)</script>', page, re.DOTALL)
    assert 1 <= len(json.loads(data.group(1))) < 9


@pytest.mark.parametrize(
    ("verdict", "sentence", "parts"),
    [
        ("learned", "learned: 97 % right.", ("learned:", "97 % right.")),
        ("cannot see", "cannot see 48 % of the answers.", ("cannot see", "48 % of the answers.")),
        ("can see but did not learn it", "can see every answer but did not.", ("can see", "every answer but did not.")),
        ("learned", "It is right.", ("learned", "It is right.")),
        ("learned", "", ("learned", "")),
    ],
)
def test_a_sentence_that_says_its_verdict_is_not_preceded_by_it(verdict, sentence, parts):
    assert page.lead_of(verdict, sentence) == parts


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0"), (999, "999"), (1000, "1 k"), (57_300, "57.3 k"), (2.5e9, "2.5 G"), (3e12, "3 T")]
)
def test_counts_have_decimal_prefixes(value, words):
    assert page.in_thousands(value) == words
