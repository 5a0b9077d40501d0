"""In a real browser: choosing a query changes the pictures, by link, pointer and key; a phone scrolls one way only."""

import re
import subprocess

import pytest
from tests.chromium import CHROMIUM, FLAGS, MARKS
from tests.studies.long_range.made_up_study import STRIDE, canvases, results, scene_of

from sightline.studies.long_range import scene_data
from sightline.studies.long_range.page import write_page

pytestmark = MARKS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    drawn = canvases(seed=1)
    scenes = [scene_of(drawn, 1), scene_of(canvases(seed=2), 2)]
    return write_page(tmp_path_factory.mktemp("page"), results(), scenes), scenes, drawn


def dom_of(page, folder, link="", width=1280) -> str:
    """The page as the browser has it after its scripts ran; a browser that says nothing fails the test."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},900", "--dump-dom"]
    ended = subprocess.run([*command, page.as_uri() + link], capture_output=True, text=True, timeout=120, check=True)
    assert "</html>" in ended.stdout
    return ended.stdout


def panels_of(dom: str) -> dict[str, str]:
    return dict(re.findall(r'<figure data-network="([^"]*)">(.*?)</figure>', dom, re.DOTALL))


def question(drawn) -> tuple[int, int, int]:
    """Map row, column and truth of the first question of a canvas: the position of its square's first pixel."""
    row, column = (drawn.label[0] >= 0).nonzero()[0].tolist()
    return row // STRIDE, column // STRIDE, int(drawn.label[0, row, column])


def test_a_link_chooses_the_query_and_the_picture_follows(written, tmp_path):
    page, scenes, drawn = written
    row, column, truth = question(drawn)
    query = row * 10 + column
    asked = dom_of(page, tmp_path, f"#query={row},{column}")
    assert f"Query at row {row}, column {column}: the truth is {truth}." in asked
    for n, (name, picture) in enumerate(panels_of(asked).items()):
        assert name == scenes[0].networks[n]
        assert picture.count('class="veil"') == int((~scenes[0].reach[n, query]).sum())
        weights = scenes[0].looks[n, query].astype(float)
        bytes_shown = [round(255 * w / weights.max()) / 255 for w in weights.flatten()] if n else []
        assert picture.count('class="look"') == sum(share >= 0.01 for share in bytes_shown)
        said = scene_data.said_at_positions(scenes[0].prediction[n], scenes[0].truth, (8, 10))[query]
        assert (f"✓ says {said}, right" if said == truth else f"✗ says {said}, not {truth}") in picture
        assert 'class="answer"' in picture
    empty = dom_of(page, tmp_path, "#scene=1&query=0,9")
    assert panels_of(empty) != panels_of(asked)
    assert "Query at row 0, column 9" in empty
    first = panels_of(empty)["deep convolutions"]
    assert first.count('class="veil"') == int((~scenes[1].reach[0, 9]).sum())


def test_the_squares_show_what_counts_when_asked(written, tmp_path):
    page, scenes, drawn = written
    row, column, _ = question(drawn)
    query = row * 10 + column
    for n, picture in enumerate(panels_of(dom_of(page, tmp_path, f"#query={row},{column}&squares=effect")).values()):
        counts = scenes[0].effect[n, query].astype(float)
        bytes_shown = [round(255 * c / counts.max()) / 255 for c in counts.flatten()]
        assert picture.count('class="look"') == sum(share >= 0.01 for share in bytes_shown) > 0
        share = scene_data.effect_on_answers(scenes[0], n)[query]
        assert f"{share} % of what counts lies on the answer." in picture


def test_keys_pointer_and_buttons_move_the_query(written, tmp_path):
    page, _, drawn = written
    acts = """<script>
      const picker = document.getElementById("picker"), status = document.getElementById("query-status"), said = [];
      const note = () => said.push(status.textContent.split(":")[0] + " " + location.hash);
      const press = (key) => { picker.dispatchEvent(new KeyboardEvent("keydown", { key })); note(); };
      press("ArrowDown"); press("ArrowRight"); press("ArrowUp"); press("ArrowLeft"); press("ArrowLeft");
      const box = picker.getBoundingClientRect(), panel = document.querySelector("#panels svg");
      const at = (node, x, y) => { const b = node.getBoundingClientRect(); node.dispatchEvent(
        new PointerEvent("pointerdown", { clientX: b.left + x * b.width, clientY: b.top + y * b.height })); note(); };
      at(picker, 0.999, 0.999); at(panel, 0.55, 0.01); at(picker, 0.001, 0.001);
      for (let i = 0; i < 9; i++) { document.getElementById("next-question").click(); note(); }
      document.getElementById("previous-question").click(); note();
      document.body.dataset.said = said.join("|");
    </script></body>"""
    acted = tmp_path / "acted.html"
    acted.write_text(page.read_text(encoding="utf-8").replace("</body>", acts), encoding="utf-8")
    said = (
        re.search(r'data-said="([^"]*)"', dom_of(acted, tmp_path, "#query=0,0"))
        .group(1)
        .replace("&amp;", "&")
        .split("|")
    )
    places = [(1, 0), (1, 1), (0, 1), (0, 0), (0, 0), (7, 9), (0, 5), (0, 0)]
    assert said[:8] == [f"Query at row {y}, column {x} #scene=0&query={y},{x}" for y, x in places]
    visited = said[8:]
    cells = {(cell // 5, cell % 5) for cell in drawn.question_cell[0].tolist()}
    found = [tuple(map(int, re.search(r"row (\d+), column (\d+)", line).groups())) for line in visited]
    assert {(y * STRIDE // 8, x * STRIDE // 8) for y, x in found} == cells
    assert found[8] == found[0]  # eight questions, then the first again
    assert found[9] == found[7]


@pytest.mark.parametrize("width", [390, 1280])
def test_no_width_scrolls_sideways_and_no_text_is_tiny(written, tmp_path, width):
    """Measured in a frame of that width: a headless window may refuse to be as narrow as a phone."""
    page = written[0]
    probe = """<script>
      const sizes = [...document.querySelectorAll("svg.chart text")].map((t) => t.getBoundingClientRect().height);
      document.body.dataset.found = JSON.stringify({ wide: document.documentElement.scrollWidth,
        view: document.documentElement.clientWidth, smallest: Math.min(...sizes) });
      parent.postMessage(document.body.dataset.found, "*");
    </script></body>"""
    framed = tmp_path / "framed.html"
    framed.write_text(page.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<body><iframe src="framed.html" style="width:{width}px;height:900px;border:0"></iframe><script>'
        'addEventListener("message", (event) => { document.body.dataset.found = event.data; });</script></body></html>'
    )
    dom = dom_of(outer, tmp_path, width=1400).replace("&quot;", '"')
    found = {name: float(value) for name, value in re.findall(r'"(\w+)":([\d.]+)', dom)}
    assert found["view"] <= width
    assert found["wide"] <= found["view"]
    assert found["smallest"] >= 11
