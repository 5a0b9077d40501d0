"""In a real browser: a link, buttons and the slider walk through the steps; no width scrolls sideways."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.chromium import CHROMIUM, FLAGS, MARKS
from tests.play.made_up_agent import trained

from sightline.play.command import Play, run
from sightline.play.episodes import Episode
from sightline.rl.policies.settings import PolicySettings

pytestmark = MARKS


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Episode]]:
    folder = trained(tmp_path_factory.mktemp("runs") / "catch", policy=PolicySettings(hidden=(8,), encoder="non-local"))
    episodes = run(Play(folder, episodes=2))
    return (folder / "play.html").read_text(), episodes


def said(text: str, folder: Path, script: str, *, width: int = 1280, link: str = "") -> list:
    probe = f"""<script>const said = [], by = (id) => document.getElementById(id);
      {script}
      document.body.dataset.said = JSON.stringify(said);</script></body>"""
    path = folder / "page.html"
    path.write_text(text.replace("</body>", probe))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'browser'}", f"--window-size={width},900", "--dump-dom"]
    ended = subprocess.run([*command, path.as_uri() + link], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(re.search(r'data-said="([^"]*)"', ended.stdout)[1].replace("&quot;", '"'))


def test_a_reader_walks_through_the_steps(played: tuple[str, list[Episode]], tmp_path: Path) -> None:
    text, episodes = played
    note = 'said.push([document.body.dataset.step, by("status").textContent, Boolean(by("gaze").src)]);'
    told = said(
        text,
        tmp_path,
        f"""{note} by("next").click(); {note}
        by("step").value = 9; by("step").dispatchEvent(new Event("input")); {note}
        by("choose").children[0].click(); {note} by("back").click(); {note}""",
        link="#episode=2,step=3",
    )
    assert [one[0] for one in told] == ["2,3", "2,4", "2,9", "1,0", "1,0"]
    step = episodes[1].steps[3]
    assert told[0][1].startswith(f"{step.action}step 3 of 9, return so far 0, expects ")
    assert told[2][1] == f"Return {episodes[1].total:g}terminated after 9 steps"
    assert all(one[2] for one in told)


def test_the_bars_are_the_probabilities(played: tuple[str, list[Episode]], tmp_path: Path) -> None:
    text, episodes = played
    told = said(text, tmp_path, 'said.push([...document.querySelectorAll(".bar")].map((one) => one.textContent));')
    assert told == [[f"{bar.label}{bar.text}" for bar in episodes[0].steps[0].bars]]


@pytest.mark.parametrize("width", [390, 1280])
def test_no_width_scrolls_sideways(played: tuple[str, list[Episode]], tmp_path: Path, width: int) -> None:
    inner = f'<iframe id="inner" style="width:{width}px;height:900px;border:0"></iframe>'  # narrower than any window
    page = json.dumps(played[0]).replace("</", "<\\/")
    outer = f"<!DOCTYPE html><body>{inner}</body>"
    told = said(
        outer,
        tmp_path,
        f"""by("inner").srcdoc = {page};
        by("inner").onload = () => {{
          const root = by("inner").contentDocument.documentElement;
          document.body.dataset.said = JSON.stringify([root.scrollWidth, root.clientWidth]);
        }};""",
    )
    assert told[0] == told[1] <= width  # a scroll bar on its side takes a little
