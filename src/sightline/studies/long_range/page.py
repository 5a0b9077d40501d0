"""The page of the long-range study: one self-contained file that answers "do they solve the problem?" at a glance.

`write_page` turns the numbers of `results.json` and the canvases of `scenes.npz` into `report.html`: verdicts, the
strip `image | R=1 | R=2 | ground truth`, score against ceiling, chance and cost, learning curves, a canvas to ask; it
draws `strip.png` beside it. Names, verdicts and sentences come from the results and are escaped. An unfinished study
gives a page of what is there and says so.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sightline.studies import field_picture
from sightline.studies.long_range.scene_data import pack
from sightline.studies.long_range.scenes import Scene
from sightline.studies.long_range.strip import (
    TRUTH,
    answers,
    answers_svg,
    digits_of,
    draw_strip,
    score_words,
    strip_networks,
)
from sightline.studies.page import facts_of, in_thousands, png_bytes, unbroken
from sightline.vision.drawing import svg_charts
from sightline.vision.drawing.pages import fill_in, picture_uri

SCENE_BUDGET = 3_500_000  # bytes of the page that test canvases may take
STRIP_ROWS = 2
STATES = {  # how a verdict is drawn, and how a legend calls it
    "learned": "learned",
    "unlearned": "can see but did not learn it in this budget",
    "unseen": "cannot see",
}
LEADS = {
    "learned": ("Yes:", "Yes:"),
    "unlearned": ("No, it did not learn it in this budget:", "No, they did not learn it in this budget:"),
    "unseen": ("No, it cannot see enough:", "No, they cannot see enough:"),
}
TASKS = {
    "recall": "Recall: name the digit that has the square's colour, anywhere on the canvas",
    "key-class": "Key class: is this digit of the key digit's class?",
}

Row = Mapping[str, Any]
Group = tuple[str, int]  # task and number of digits


COSTS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("parameters", "Parameters", "parameters", in_thousands),
    ("flops", "FLOPs", "operations of one canvas, forwards", in_thousands),
    ("seconds", "Training time", "processor seconds of training", lambda seconds: f"{seconds:.3g} s"),
    ("peak_memory", "Peak memory", "bytes at the peak of a training step", lambda size: in_thousands(size) + "B"),
)


def state_of(verdict: str | None) -> str:
    """The state (a class of the style sheet) of a verdict in words; `unknown` for any other."""
    return next((state for state, words in STATES.items() if (verdict or "").startswith(words[:7])), "unknown")


def group_title(group: Group) -> str:
    """A task and its number of digits in words."""
    return f"{group[0][:1].upper()}{group[0][1:]}, {group[1]} digits"


def chance_of(results: Row, task: str) -> float:
    """The score of guessing at a task: one number for all tasks, or one for each."""
    chance = results["chance"]
    return float(chance[task] if isinstance(chance, Mapping) else chance)


def groups_of(results: Row) -> dict[Group, list[Row]]:
    """The summaries by task and number of digits, in the order in which they come."""
    found: dict[Group, list[Row]] = {}
    for one in results["summary"]:
        found.setdefault((one["task"], one["digits"]), []).append(one)
    return found


def main_group(groups: Mapping[Group, Sequence[Row]], scenes: Sequence[Scene]) -> Group | None:
    """The setting that the page opens with: the one of the test canvases, else the recall task with most networks."""
    if scenes and ("recall", digits_of(scenes[0])) in groups:
        return "recall", digits_of(scenes[0])
    return max(groups, key=lambda group: (group[0] == "recall", len(groups[group]), group[1]), default=None)


def cost_of(results: Row, summary: Row, name: str) -> float | None:
    """A cost of a network: what its summary says, else the mean of its runs; None where it was not measured."""
    if summary.get(name) is not None:
        return float(summary[name])
    keys = ("task", "digits", "network")
    runs = [row for row in results["rows"] if all(row[key] == summary[key] for key in keys)]
    values = [float(row[name]) for row in runs if row.get(name) is not None]
    return sum(values) / len(values) if values else None


def headline(summaries: Sequence[Row]) -> list[dict[str, Any]]:
    """One line for each verdict that occurs: who solves the problem, who does not, and why not."""
    lines = []
    for state, (one, many) in LEADS.items():
        names = [with_score(row) for row in summaries if state_of(row.get("verdict")) == state]
        if names:
            lines.append({"state": state, "lead": one if len(names) == 1 else many, "names": names})
    return lines


def with_score(row: Row) -> str:
    """A network's name and its score: a verdict has an edge, and a score beside it says how far away that is."""
    score = number(row.get("score_mean"))
    return str(row["network"]) if score is None else f"{row['network']} ({100 * score:.0f}\u00a0%)"


def lead_of(verdict: str, sentence: str) -> tuple[str, str]:
    """The words with which a sentence says its verdict, and the rest: nothing is said twice."""
    shared = 0
    for said, wanted in zip(sentence.split(" "), verdict.split(" "), strict=False):
        if said.rstrip(":;,.") != wanted:
            break
        shared += 1
    if not shared:
        return verdict, sentence
    words = sentence.split(" ")
    return " ".join(words[:shared]), " ".join(words[shared:])


def verdicts(summaries: Sequence[Row]) -> list[dict[str, str]]:
    """Each network's verdict and its sentence."""
    found = []
    for row in summaries:
        if row.get("verdict"):
            lead, rest = lead_of(str(row["verdict"]), str(row.get("sentence") or ""))
            found.append(
                {
                    "network": str(row["network"]),
                    "state": state_of(row["verdict"]),
                    "lead": lead,
                    "rest": unbroken(rest),
                }
            )
    return found


def strips(scenes: Sequence[Scene]) -> list[list[dict[str, Any]]]:
    """The panels `image | R=1 | R=2 | ground truth` of the first scenes."""
    lines = []
    for scene in scenes[:STRIP_ROWS]:
        image, (h, w) = picture_uri(png_bytes(scene.image)), scene.truth.shape
        line = []
        for name in ["image", *strip_networks(scene.networks), TRUTH]:
            found = [] if name == "image" else answers(scene, name)
            note = "" if name in ("image", TRUTH) else score_words(found)
            said = ", ".join(str(one.said) for one in found)
            label = f"{name}: answers {said}; {note}" if found else f"{name}: digits and squares, each in a colour"
            line.append(
                {"name": name, "note": note, "label": label, "image": image, "width": w, "height": h}
                | {"answers": answers_svg(found)}
            )
        lines.append(line)
    return lines


def number(value: float | int | None) -> float | None:
    """A number of a JSON file, which writes 1.0 as 1, as a float."""
    return None if value is None else float(value)


def bar_chart(results: Row, group: Group, summaries: Sequence[Row]) -> Markup:
    """Scores of one setting against ceilings and chance."""
    rows = [
        svg_charts.Bar(
            name=str(row["network"]),
            state=state_of(row.get("verdict")),
            score=number(row.get("score_mean")),
            low=number(row.get("score_low")),
            high=number(row.get("score_high")),
            ceiling=number(row.get("ceiling")),
        )
        for row in summaries
    ]
    said = "; ".join(f"{bar.name} {bar.score:.2f}" for bar in rows if bar.score is not None)
    return svg_charts.bars(rows, chance_of(results, group[0]), f"Scores, {group_title(group)}: {said}")


def cost_charts(results: Row, group: Group, summaries: Sequence[Row]) -> list[dict[str, Any]]:
    """One small chart for each cost that was measured."""
    charts = []
    for name, title, axis, words in COSTS:
        points = []
        for row in summaries:
            cost = cost_of(results, row, name)
            if cost is not None and cost > 0 and row.get("score_mean") is not None:
                state = state_of(row.get("verdict"))
                points.append(svg_charts.Point(str(row["network"]), state, cost, float(row["score_mean"])))
        if points:
            said = "; ".join(f"{one.name} {one.y:.2f} at {words(one.x)}" for one in points)
            chart = svg_charts.against_cost(
                points, words, chance_of(results, group[0]), f"Score against {axis}: {said}", axis
            )
            charts.append({"title": title, "chart": chart})
    return charts


def curve_charts(results: Row, group: Group, summaries: Sequence[Row]) -> list[dict[str, Any]]:
    """Score over steps and seconds, loss over steps, of every run of one setting that has a curve."""
    states = {row["network"]: state_of(row.get("verdict")) for row in summaries}
    runs = [row for row in results["rows"] if (row["task"], row["digits"]) == group and row.get("curve")]
    charts = []
    for title, x, y, axis in (
        ("Score over steps", "step", "score", "training steps"),
        ("Score over time", "seconds", "score", "processor seconds"),
        ("Loss over steps", "step", "loss", "training steps"),
    ):
        lines = []
        for run in runs:
            dots = [dot for dot in run["curve"] if dot.get(x) is not None and dot.get(y) is not None]
            state = states.get(run["network"], "unknown")
            across, up = [float(dot[x]) for dot in dots], [float(dot[y]) for dot in dots]
            lines.append(svg_charts.Curve(str(run["network"]), state, across, up))
        lines = [line for line in lines if line.x]
        if lines:
            highest = max(max(line.y) for line in lines)
            limits = (0.0, 1.0) if y == "score" else (0.0, highest if highest > 0 else 1.0)
            chance = chance_of(results, group[0]) if y == "score" else None
            charts.append({"title": title, "chart": svg_charts.curves(lines, title, axis, limits, chance)})
    return charts


def numbers(results: Row) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table of all summaries; a dash where nothing was measured."""
    head = ["Setting", "Network", "Score", "Lowest to highest", "Seeds", "Ceiling", *(cost[1] for cost in COSTS)]
    body = []
    for row in results["summary"]:
        score, low, high, ceiling = (row.get(key) for key in ("score_mean", "score_low", "score_high", "ceiling"))
        costs = [(cost_of(results, row, name), words) for name, _, _, words in COSTS]
        body.append(
            [
                group_title((row["task"], row["digits"])),
                str(row["network"]),
                "-" if score is None else f"{score:.3f}",
                "-" if low is None or high is None or low == high else f"{low:.3f} to {high:.3f}",
                str(row.get("seeds", "-")),
                "-" if ceiling is None else f"{ceiling:.3f}",
                *("-" if cost is None else words(cost) for cost, words in costs),
            ]
        )
    return head, body


@functools.cache  # a study writes its page many times, and these never change
def field_figures() -> list[dict[str, str]]:
    """The panels of the first picture, one image each, so that a phone can put them below each other."""
    photo = field_picture.photograph()
    size = (photo.shape[0], photo.shape[1])
    query = field_picture.middle_of_the_pagoda(size)
    return [
        {"name": one.name, "detail": one.detail, "sentence": one.sentence, "image": picture_uri(png)}
        for one in field_picture.fields(size, query)
        for png in [field_picture.panel_png(photo, one, query)]
    ]


def write_page(folder: Path, results: Row, scenes: Sequence[Scene]) -> Path:
    """Write `folder / report.html` (and `strip.png`, where there are scenes) and return the page's path.

    `results` is what `results.json` holds; rows, summaries and scenes may be missing while the study runs.
    """
    groups = groups_of(results)
    main = main_group(groups, scenes)
    shown = groups[main] if main is not None else []
    ordered = ([main] if main is not None else []) + [group for group in groups if group != main]
    packed = pack(scenes, SCENE_BUDGET)
    head, body = numbers(results)
    here = Path(__file__).parent
    runs = len(results["rows"])
    learning = [
        {"title": group_title(group), "charts": curve_charts(results, group, groups[group])} for group in ordered
    ]
    values = {
        "scene_json": Markup(json.dumps(packed, allow_nan=False).replace("<", "\\u003c")),
        "scene_count": len(packed),
        "mark": svg_charts.mark,
        "states": STATES,
        "task_sentence": (TASKS.get(main[0], main[0]) if main is not None else TASKS["recall"])
        + (f". Here with {main[1]} digits." if main is not None else "."),
        "finished": bool(results["finished"]),
        "unfinished": f"{runs} {'run is' if runs == 1 else 'runs are'} done; the page shows what is there.",
        "headline": headline(shown),
        "verdicts": verdicts(shown),
        "strips": strips(scenes),
        "spread": any((row.get("seeds") or 1) > 1 for row in results["summary"]),
        "groups": [{"title": group_title(group), "bars": bar_chart(results, group, groups[group])} for group in groups],
        "fields": field_figures(),
        "main_title": group_title(main) if main is not None else "",
        "costs": cost_charts(results, main, shown) if main is not None else [],
        "learning": [group for group in learning if group["charts"]],
        "table_head": head,
        "table": body,
        "others": [{"title": group_title(group), "verdicts": verdicts(groups[group])} for group in ordered[1:]],
        "command": str(results["command"]),
        "facts": facts_of(results),
    }
    page = fill_in(here / "page.html.j2", values, style=here / "page.css", script=here / "page.js")
    folder.mkdir(parents=True, exist_ok=True)
    if scenes:
        draw_strip(folder, scenes, STRIP_ROWS)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
