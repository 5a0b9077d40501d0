"""The page of a training run, `report.html`: how good is it, and where does it fail?

One self-contained file, from what lies in the run's folder: the score in one sentence, the worst examples first, a bar
for every class, the confusion matrix, learning curves, settings. Everything that a run or a data set says is escaped.
An unfinished run gives a page of what is there and says so.

Left out: comparing runs (`studies`), and what the network can see (`seeing`).
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from markupsafe import Markup
from torch import Tensor
from tyro.conf import Positional

from sightline.run.config import read_config
from sightline.run.device import choose_device
from sightline.run.files import write_whole
from sightline.run.folder import read_metrics
from sightline.vision.data.examples import Examples
from sightline.vision.drawing import svg_charts
from sightline.vision.drawing.pages import fill_in
from sightline.vision.drawing.palette import palette
from sightline.vision.measures.metrics import class_accuracy, class_iou, mean_iou, pixel_accuracy
from sightline.vision.prediction.predict_image import percent
from sightline.vision.prediction.runs import load_run
from sightline.vision.report.cases import case_panels
from sightline.vision.report.judging import Judgement, judge, largest_confusions

MATRIX = 20  # classes that a confusion matrix shows
POINTS = 240  # of a curve; more are averaged
SCORES = {  # what a row of metrics may say, and how a chart calls it; the first that is there is the score
    "mean_iou": "mean IoU",
    "top1": "accuracy",
    "top5": "among the five likeliest",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean class accuracy",
}
LOSSES = ("loss", "cross_entropy", "auxiliary", "dice", "category")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """Settings of `sightline report`."""

    run: Positional[Path]
    """Folder of the run."""
    data: str | None = None
    """Folder of images, or package.module:object, that the network is judged by; by default the run's own data."""
    split: str | None = None
    """Part of the data; by default the one that the run was evaluated on."""
    worst: int = 12
    """How many of the worst examples the page shows."""
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1"."""
    trust: bool = False
    """Whether the run may import classes from outside of sightline, which runs their code."""


def run(settings: Report) -> None:
    """Judge a run by examples, write its page, and say where it is.

    Raises:
        FileNotFoundError: there is no run, or no checkpoint yet.
        ValueError: it is no run of `sightline train`, or the data is not of its task and classes.
    """
    from sightline.vision.training.build import open_data  # the page itself needs no data

    loaded, was = load_run(settings.run, trust=settings.trust), read_config(settings.run).get("data", {})
    data, split = (was.get("data"), was.get("val")) if settings.data is None else (settings.data, settings.split)
    split = split if settings.split is None else settings.split
    if not data:
        raise ValueError(f"the run in {settings.run} does not say what data it is of: name some (--data)")
    examples = open_data(
        data,
        split or "val",
        task=loaded.task,
        layout=was.get("layout", "auto") if settings.data is None else "auto",
        classes=loaded.classes,
        ignore=loaded.ignore,
        trust=settings.trust,
    )
    device = choose_device(settings.device)
    page = write_report(settings.run, examples=examples, worst=settings.worst, device=device, trust=settings.trust)
    print(f"wrote {page}")


def write_report(
    folder: str | Path,
    *,
    examples: Examples | None = None,
    worst: int = 12,
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> Path:
    """Write `folder / report.html` and return its path.

    Args:
        folder: of the run.
        examples: that the network is judged by; without them the page has no examples, classes and confusions.
        worst: how many of the worst examples are shown.
        device: where the network runs.
        trust: whether the run may import classes from outside of sightline.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: the examples are not of the run's task and classes.
    """
    folder, here = Path(folder), Path(__file__)
    config, rows = read_config(folder), read_metrics(folder)
    judged = None
    if examples is not None:
        judged = judge(load_run(folder, trust=trust), examples, worst=worst, device=device)
    classes, task = [str(name) for name in config.get("classes", [])], str(config.get("task", ""))
    shown = [] if judged is None else chosen_classes(judged.matrix)
    values = {
        "name": folder.resolve().name,
        "unit": "pixels" if task == "segment" else "images",
        "notice": notice(rows, config),
        "headline": headline(judged, classes, task, rows),
        "facts": facts(judged, classes, task),
        "cases": [] if judged is None else case_panels(judged, classes, task),
        "judged": judged,
        "legend": legend(judged, classes) if task == "segment" else [],
        "bars": None if judged is None else class_bars(judged.matrix, classes, task),
        "matrix": [] if judged is None else confusion_rows(judged.matrix, classes, shown),
        "columns": [classes[index] for index in shown],
        "left": len(classes) - len(shown),
        "curves": curve_charts(rows),
        "settings": [(str(key), said(value)) for key, value in config.items() if key not in ("classes", "command")],
        "command": str(config.get("command", "")),
    }
    page = fill_in(here.with_suffix(".html.j2"), values, style=here.with_suffix(".css"))
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def notice(rows: Sequence[Row], config: Row) -> str:
    """What is unfinished, in one sentence; empty where nothing is."""
    recipe = config.get("recipe")
    steps = recipe.get("arguments", recipe).get("steps") if isinstance(recipe, Mapping) else None
    last = max((int(row["step"]) for row in rows if row.get("step") is not None), default=0)
    if not rows:
        return "This run has not begun: there are no metrics yet."
    if steps is not None and last < steps:
        return f"This run is unfinished: step {last} of {steps} is done, and the page shows what is there."
    return ""


def headline(judged: Judgement | None, classes: Sequence[str], task: str, rows: Sequence[Row]) -> dict[str, str] | None:
    """The score, what it is, and of what; None where there is none."""
    if judged is not None and int(judged.matrix.sum()):
        of = f"{judged.count} images" if judged.count != 1 else "one image"
        if task == "segment":
            present = int((~class_iou(judged.matrix).isnan()).sum())
            of = f"over {present} classes, on {of}"
            return {"score": f"{float(mean_iou(judged.matrix)):.3f}", "what": "mean IoU", "of": of}
        return {"score": f"{float(pixel_accuracy(judged.matrix)):.3f}", "what": "accuracy", "of": f"on {of}"}
    for name, what in SCORES.items():
        found = [row for row in rows if row.get(name) is not None]
        if found:
            return {"score": f"{found[-1][name]:.3f}", "what": what, "of": f"after step {found[-1].get('step', '?')}"}
    return None


def facts(judged: Judgement | None, classes: Sequence[str], task: str) -> list[str]:
    """The score in words: best and worst class, the largest confusion, and what no thinking at all would score."""
    if judged is None or not int(judged.matrix.sum()):
        return []
    matrix = judged.matrix
    scores = class_scores(matrix, task)
    order = sorted((i for i in range(len(classes)) if not scores[i].isnan()), key=lambda i: float(scores[i]))
    what = "IoU" if task == "segment" else "of its images are right"
    out = []
    if len(order) > 1:
        best, low = (
            (classes[i], f"{float(scores[i]):.2f}" if task == "segment" else percent(float(scores[i])))
            for i in (order[-1], order[0])
        )
        out.append(f"Best at {best[0]} ({best[1]} {what}), worst at {low[0]} ({low[1]}).")
    for truth, answer, count in largest_confusions(matrix, 1):
        unit = "pixels of" if task == "segment" else "images of"
        own = percent(count / int(matrix[truth].sum()))
        out.append(
            f"Most frequent mistake: {classes[truth]} called {classes[answer]}, {own} of all {unit} {classes[truth]}."
        )
    if not largest_confusions(matrix, 1):
        out.append("Nothing is wrong.")
    common = int(matrix.sum(1).argmax())
    share = int(matrix[common].sum()) / int(matrix.sum())
    blind = share / int((matrix.sum(1) > 0).sum()) if task == "segment" else share
    out.append(f"Answering {classes[common]} everywhere would score {blind:.3f}.")
    return out


def class_scores(matrix: Int[Tensor, "k k"], task: str) -> Tensor:
    """Intersection over union of every class, or the share of its images that are right; nan where it is absent."""
    return class_iou(matrix) if task == "segment" else class_accuracy(matrix)


def class_bars(matrix: Int[Tensor, "k k"], classes: Sequence[str], task: str) -> Markup:
    """A bar for every class, the worst first, with its share of the truth; absent classes last."""
    scores, total = class_scores(matrix, task), max(1, int(matrix.sum()))
    order = sorted(range(len(classes)), key=lambda i: (bool(scores[i].isnan()), float(scores[i].nan_to_num())))
    unit = "pixels" if task == "segment" else "images"
    swatches = hex_colours(classes) if task == "segment" else [""] * len(classes)
    rows = []
    for i in order:
        share = int(matrix[i].sum()) / total
        score = None if scores[i].isnan() else float(scores[i])
        note = f"{percent(share)} of the {unit}" if share else "not in the truth"
        rows.append(svg_charts.Bar(classes[i], "learned", score, note=note, swatch=swatches[i]))
    words = "; ".join(f"{row.name} {row.score:.2f}" for row in rows if row.score is not None)
    return svg_charts.bars(rows, None, f"{'IoU' if task == 'segment' else 'Accuracy'} of every class: {words}")


def chosen_classes(matrix: Int[Tensor, "k k"], most: int = MATRIX) -> list[int]:
    """The classes that a readable matrix shows: all, or those with the most mistakes, in their own order."""
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    return sorted(wrong.argsort(descending=True, stable=True)[:most].tolist())


def confusion_rows(matrix: Int[Tensor, "k k"], classes: Sequence[str], shown: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of the matrix, each divided by its sum over all classes: cells with a share, its words, and what it is."""
    rows = []
    for truth in shown:
        whole = int(matrix[truth].sum())
        cells = []
        for answer in shown:
            share = int(matrix[truth, answer]) / whole if whole else 0.0
            words = f"{100 * share:.0f}" if share >= 0.005 else ""
            said_ = f"{classes[truth]} called {classes[answer]}: {percent(share)}"
            cells.append(
                {"share": f"{share:.3f}", "words": words, "title": said_, "right": truth == answer, "deep": share > 0.5}
            )
        rows.append({"name": classes[truth], "cells": cells, "empty": not whole})
    return rows


def legend(judged: Judgement | None, classes: Sequence[str]) -> list[tuple[str, str]]:
    """The classes that occur in truth or answers, with their colours."""
    if judged is None:
        return []
    occurs = (judged.matrix.sum(0) + judged.matrix.sum(1)).tolist()
    return [(name, colour) for name, colour, count in zip(classes, hex_colours(classes), occurs, strict=True) if count]


def hex_colours(classes: Sequence[str]) -> list[str]:
    """The colour of every class as `#rrggbb`."""
    return ["#" + bytes(colour).hex() for colour in palette(classes).tolist()]


def curve_charts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Losses and scores over steps, where at least two points are there."""
    charts = []
    for title, names in (("Score", SCORES), ("Loss", {name: name.replace("_", " ") for name in LOSSES})):
        lines: list[svg_charts.Curve] = []
        for name, words in names.items():
            dots = [
                (float(r["step"]), float(r[name]))
                for r in rows
                if r.get(name) is not None and r.get("step") is not None
            ]
            if len(dots) > 1:
                x, y = thinned([dot[0] for dot in dots]), thinned([dot[1] for dot in dots])
                lines.append(svg_charts.Curve(words, "learned" if not lines else "unknown", x, y))
        if lines:
            top = 1.0 if title == "Score" else max(max(line.y) for line in lines)
            axis = "training steps"
            charts.append(
                {
                    "title": title,
                    "chart": svg_charts.curves(lines, f"{title} over steps", axis, (0.0, top if top > 0 else 1.0)),
                }
            )
    return charts


def thinned(values: Sequence[float], most: int = POINTS) -> list[float]:
    """At most so many values: means of neighbours, the last value kept as it is."""
    if len(values) <= most:
        return list(values)
    edges = [len(values) * i // (most - 1) for i in range(most)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)] + [values[-1]]


def said(value: Any) -> str:
    """A setting in words: objects as `Name(argument=value)`, everything else as JSON."""
    if isinstance(value, Mapping) and set(value) == {"object", "arguments"}:
        inner = ", ".join(f"{key}={said(one)}" for key, one in value["arguments"].items())
        return f"{str(value['object']).rpartition(':')[2]}({inner})"
    if isinstance(value, Mapping) and set(value) == {"name"}:
        return str(value["name"]).rpartition(":")[2]
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={said(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(said(one) for one in value) + "]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
