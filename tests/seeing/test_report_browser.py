"""In a real browser: pointing at a pixel moves the field, by pointer, key and link; no width scrolls sideways."""

import json
import re
import subprocess

import numpy as np
import pytest
from tests.chromium import CHROMIUM, FLAGS, MARKS
from tests.seeing.made_up_report import H, W, neurons, report

from sightline.seeing.report.contents import Missing
from sightline.seeing.report.page import page_of

pytestmark = MARKS
MARGIN = 4  # pixels around the image in the view: 4 % of the longer side, rounded up


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(report())


def run(text: str, folder, link="", script="", waits="picker") -> str:
    """The page as the browser has it after its scripts and `script`, which waits until the page has drawn.

    The browser's time is virtual and leaps to its end when no timer is left, while pictures are unpacked and frames are
    drawn in real time: waiting is done by many short timers, with far more virtual time than they need.
    """
    probe = f"""<script>(async () => {{
      const tick = () => new Promise((on) => setTimeout(on, 5));
      const until = async (met) => {{ for (let i = 0; i < 20000 && !met(); i++) await tick(); }};
      const frame = async () => {{
        let drawn = false;
        requestAnimationFrame(() => requestAnimationFrame(() => (drawn = true)));
        await until(() => drawn);
      }};
      await until(() => document.querySelector("[data-neuron]") || {json.dumps("picker" not in waits)});
      const said = [];
      {script}
      document.body.dataset.said = JSON.stringify(said);
    }})();</script></body>"""
    path = folder / "page.html"
    path.write_text(text.replace("</body>", probe), encoding="utf-8")
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder / 'browser'}",
        "--virtual-time-budget=200000",
        "--window-size=1280,900",
        "--dump-dom",
    ]
    ended = subprocess.run([*command, path.as_uri() + link], capture_output=True, text=True, timeout=120, check=True)
    assert "</html>" in ended.stdout
    return ended.stdout


def said_in(dom: str):
    return json.loads(re.search(r'<body data-said="([^"]*)"', dom)[1].replace("&quot;", '"').replace("&amp;", "&"))


def status_of(dom: str) -> str:
    return re.search(r'id="neuron-status"[^>]*>([^<]*)<', dom)[1].replace("&nbsp;", " ").replace("\u00a0", " ")


def test_a_link_chooses_the_neuron_and_its_set_is_counted(page, tmp_path):
    dom = run(page, tmp_path, "#neuron=1,9")
    made = report()
    count = int(made.neurons.sets[1 * 12 + 9].sum())
    assert f"row 1, column 9 of head.cross: can see {count} pixels, 19.8 % of the image" in status_of(dom)
    assert "Half of its effect comes from" in status_of(dom)
    assert 'data-query="1,9"' in dom  # the attention of the same place


def test_click_hover_and_keys_move_the_field(page, tmp_path):
    dom = run(
        page,
        tmp_path,
        script=f"""
      const picker = document.getElementById("picker"), look = document.getElementById("look");
      const note = async () => {{
        await frame();
        said.push([picker.dataset.neuron, look.dataset.query, location.hash]);
      }};
      const at = (canvas, kind, y, x, more = {{}}) => {{
        const box = canvas.getBoundingClientRect(), side = {2 * MARGIN};
        const clientX = box.left + (x + {MARGIN}) / ({W} + side) * box.width;
        const clientY = box.top + (y + {MARGIN}) / ({H} + side) * box.height;
        canvas.dispatchEvent(new PointerEvent(kind, {{ pointerType: "mouse", clientX, clientY, ...more }}));
      }};
      const press = (key) => picker.dispatchEvent(new KeyboardEvent("keydown", {{ key }}));
      at(picker, "pointerdown", 12, 76); await note();          // row 1, column 9
      at(picker, "pointermove", 60, 4); await note();           // passes over row 7, column 0
      at(picker, "pointerleave", 60, 4); await note();          // back to what was clicked
      press("ArrowDown"); await note();
      press("ArrowRight"); press("ArrowRight"); press("ArrowRight"); press("ArrowRight"); await note();
      press("ArrowUp"); press("ArrowUp"); press("ArrowUp"); press("ArrowLeft"); await note();
      at(look, "pointerdown", 63, 95); await note();
      at(picker, "pointermove", 20, 20, {{ pointerType: "touch" }}); await note();
      location.hash = "#neuron=0,0"; await frame(); await note();
      location.hash = "#neuron=99,x"; await frame(); await note();
      """,
    )  # fmt: skip
    moved = [(neuron, query) for neuron, query, _ in said_in(dom)]
    wanted = ["1,9", "7,0", "1,9", "2,9", "2,11", "0,10", "7,11", "2,2", "0,0", "0,0"]
    assert moved == [(one, one) for one in wanted]
    assert [link for *_, link in said_in(dom)][:2] == ["#neuron=1,9", "#neuron=1,9"]  # hovering keeps the link


@pytest.mark.parametrize("shape", ["cross", "box"])  # a box whose sides fall within bytes of the packed set
def test_the_set_is_drawn_as_it_is_and_the_rest_is_dark(shape, tmp_path):
    """Pixels of the canvas itself, against the set in Python."""
    made = report(neurons=neurons(shape=shape, side=3))
    dom = run(
        page_of(made),
        tmp_path,
        "#neuron=4,6",
        script=f"""
      document.getElementById("show-effect").click(); await frame();
      const picker = document.getElementById("picker"), pen = picker.getContext("2d");
      const scale = picker.width / ({W} + {2 * MARGIN}), place = (u) => Math.round((u + {MARGIN} + 0.5) * scale);
      for (let y = 0; y < {H}; y++) for (let x = 0; x < {W}; x++) {{
        said.push(pen.getImageData(place(x), place(y), 1, 1).data[0]);
      }}""",
    )
    drawn = np.array(said_in(dom)).reshape(H, W)
    seen = made.neurons.sets[4 * 12 + 6]
    grey = made.photo @ np.array((0.299, 0.587, 0.114))
    edge = np.zeros_like(seen)
    edge[:, :-1] |= seen[:, :-1] != seen[:, 1:]
    edge[:-1] |= seen[:-1] != seen[1:]
    edge[:, 1:] |= seen[:, :-1] != seen[:, 1:]
    edge[1:] |= seen[:-1] != seen[1:]
    edge[[0, -1]] = edge[:, [0, -1]] = True
    y, x = np.mgrid[:H, :W]
    clear = ~edge & ~((abs(y - 36) < 3) & (abs(x - 52) < 3))  # not under a line, nor under the mark of the neuron
    ratio = drawn[clear] / np.maximum(grey[clear], 20)
    assert np.median(ratio[seen[clear]]) == pytest.approx(0.72, abs=0.04)
    assert np.median(ratio[~seen[clear]]) == pytest.approx(0.72 * (1 - 178 / 255), abs=0.04)
    bright = drawn[clear] > 0.45 * grey[clear]
    assert (bright == seen[clear])[grey[clear] > 40].mean() > 0.99


def test_contours_and_heat_are_drawn_where_the_effect_is(page, tmp_path):
    dom = run(
        page,
        tmp_path,
        "#neuron=4,6",
        script=f"""
      const picker = document.getElementById("picker"), pen = picker.getContext("2d");
      const scale = picker.width / ({W} + {2 * MARGIN}), place = (u) => Math.round((u + {MARGIN} + 0.5) * scale);
      const at = (y, x) => [...pen.getImageData(place(x), place(y), 1, 1).data];
      said.push(at(38, 54), at(38, 90), at(3, 5));""",
    )
    middle, tail, outside = said_in(dom)
    assert middle[0] - middle[2] > 100  # amber
    assert middle[0] - middle[2] > tail[0] - tail[2]
    assert abs(outside[0] - outside[2]) < 12  # grey


def test_head_and_layer_of_attention_can_be_chosen(page, tmp_path):
    dom = run(
        page,
        tmp_path,
        script="""
      const choose = async (id, value) => {
        const list = document.getElementById(id);
        list.value = value;
        list.dispatchEvent(new Event("change"));
        await frame();
        said.push(document.getElementById("look-status").textContent);
      };
      await choose("look-head", "2"); await choose("look-layer", "0"); await choose("look-head", "0");
      said.push([...document.getElementById("look-head").options].map((one) => one.textContent).join("|"));""",
    )
    first, second, third, heads = said_in(dom)
    assert "blocks.1.attention, head 2" in first
    assert "blocks.0.attention, head 2" in second
    assert "blocks.0.attention, mean of the heads" in third
    assert heads == "mean of the heads|head 1|head 2"


@pytest.mark.parametrize("part", ["looks", "steps", "effects", "neurons"])
def test_scripts_run_without_a_part(part, tmp_path):
    text = page_of(report(**{part: Missing(f"no {part} here")}))
    listener = """<head><script>
      addEventListener("error", (event) => (window.bad = event.message));
      addEventListener("unhandledrejection", (event) => (window.bad = String(event.reason)));</script>"""
    watched = text.replace("<head>", listener)
    dom = run(
        watched,
        tmp_path,
        script='await frame(); said.push(window.bad ?? "well");',
        waits="" if part == "neurons" else "picker",
    )
    assert said_in(dom) == ["well"]
    assert f"no {part} here" in dom


def test_every_control_is_reached_by_tab_and_shows_it(page, tmp_path):
    dom = run(
        page,
        tmp_path,
        script="""
      const all = [...document.querySelectorAll("canvas, input, select, summary, [tabindex]")];
      for (const one of all.filter((each) => each.tabIndex >= 0)) {
        one.focus({ focusVisible: true });
        const line = parseFloat(getComputedStyle(one).outlineWidth);
        said.push([one.id || one.tagName, document.activeElement === one, line]);
      }""",
    )
    reached = {name: (there, line) for name, there, line in said_in(dom)}
    assert {"picker", "look-layer", "look-head", "show-theory", "show-effect", "all-layers"} <= set(reached)
    assert all(there and line >= 2 for there, line in reached.values())


@pytest.mark.parametrize("width", [390, 1280])
def test_no_width_scrolls_sideways_and_text_can_be_read(page, tmp_path, width):
    """Measured in a frame of that width, by a script that the page itself would not let run."""
    probe = """<script>setTimeout(() => {
      const tall = (one) => one.getBoundingClientRect().height;
      const least = (wanted) => Math.min(...[...document.querySelectorAll(wanted)].map(tall));
      const { scrollWidth: wide, clientWidth: view } = document.documentElement;
      const smallest = least("svg.chart text"), target = least("select, .controls label");
      const picker = document.getElementById("picker").getBoundingClientRect().width;
      parent.postMessage(JSON.stringify({ wide, view, smallest, target, picker }), "*");
    }, 900);</script></body>"""  # fmt: skip
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", probe)
    (tmp_path / "framed.html").write_text(text, encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<body><iframe src="framed.html" style="width:{width}px;height:900px;border:0"></iframe><script>'
        'addEventListener("message", (event) => { document.body.dataset.found = event.data; });</script></body></html>'
    )
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1400,900", "--dump-dom"]
    ended = subprocess.run([*command, outer.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = {name: float(value) for name, value in re.findall(r"&quot;(\w+)&quot;:([\d.]+)", ended.stdout)}
    assert found["view"] <= width
    assert found["wide"] <= found["view"]
    assert found["smallest"] >= 11
    assert found["target"] >= 44
    assert found["picker"] >= 0.8 * min(width, 560)
