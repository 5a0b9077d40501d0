"""In a real browser: the report scrolls one way only, its text can be read, and its pictures are there."""

import re
import subprocess

import pytest
from tests.chromium import CHROMIUM, FLAGS, MARKS
from tests.vision.prediction.made_up_run import Mistaken, loaded, write_run

from sightline.vision.report import page as report
from sightline.vision.report.page import write_report

pytestmark = MARKS


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    names = ("a class with a long name", "green", "blue")
    folder = write_run(tmp_path_factory.mktemp("browser") / "run", classes=names)
    run = loaded(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "load_run", lambda folder, trust: type(run)(**{**vars(run), "classes": names}))
        return write_report(folder, examples=Mistaken(wrong=(5, 30, 2, 120, 9, 8, 7), classes=names))


@pytest.mark.parametrize("width", [390, 1280])
def test_no_width_scrolls_sideways_and_every_picture_is_there(page, tmp_path, width):
    """Measured in a frame of that width, by a script that the page itself would not let run."""
    probe = """<script>
      const sizes = [...document.querySelectorAll("svg.chart text")].map((t) => t.getBoundingClientRect().height);
      const images = [...document.querySelectorAll("img")].filter((i) => i.checkVisibility());
      parent.postMessage(JSON.stringify({ wide: document.documentElement.scrollWidth,
        view: document.documentElement.clientWidth, smallest: Math.min(...sizes), images: images.length,
        empty: images.filter((i) => !i.naturalWidth || i.getBoundingClientRect().width < 50).length }), "*");
    </script></body>"""
    text = page.read_text(encoding="utf-8").replace("</body>", probe)
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    (tmp_path / "framed.html").write_text(text, encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<body><iframe src="framed.html" style="width:{width}px;height:900px;border:0"></iframe><script>'
        'addEventListener("message", (event) => { document.body.dataset.found = event.data; });</script></body></html>'
    )
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1400,900", "--dump-dom"]
    ended = subprocess.run([*command, outer.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    dom = ended.stdout.replace("&quot;", '"')
    found = {name: float(value) for name, value in re.findall(r'"(\w+)":([\d.]+)', dom)}
    assert found["view"] <= width
    assert found["wide"] <= found["view"]
    assert found["smallest"] >= 11
    assert found["images"] == 5 * 4  # the others are folded away
    assert found["empty"] == 0
