"""The page of the recurrence study: what each further pass sees, gains and costs.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sightline.studies import page
from sightline.studies.long_range.page import COSTS, state_of
from sightline.studies.long_range.scenes import Scene
from sightline.studies.page import Section, Table
from sightline.studies.recurrence import pictures
from sightline.studies.recurrence.pictures import Panel
from sightline.vision.drawing import svg_charts

Row = Mapping[str, Any]
SHARES = ("on_cross", "off_cross", "look_on_cross", "look_off_cross", "arrive_on_cross", "arrive_off_cross")
SHOWN_COSTS = ("flops", "seconds", "peak_memory")


def name_of(one: Row) -> str:
    """R and its number, as everybody writes it."""
    return f"R={one['passes']}"


def percent(share: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.0f} %"


def answer_of(results: Row) -> list[tuple[str, str]]:
    """One line for each number of passes."""
    lines = []
    for one in results["summary"]:
        seen = f"sees {one['field']} of {one['positions']} cells, can score {100 * one['ceiling']:.0f} %"
        parts = f"{percent(one['on_cross'])} where the answer stands on the question's cross"
        off = f"{percent(one['off_cross'])} where it does not"
        lines.append((f"{name_of(one)}: {100 * one['score_mean']:.0f} % right.", f"It {seen}; {parts}, {off}."))
    return lines


def figures(panels: Sequence[Panel], what: str) -> Markup:
    """Panels as single pictures that break into lines on a phone."""
    made = [
        page.picture(pictures.draw_panel(panel), f"{what}, {title}: {words or title}", title=title, caption=words)
        for panel in panels
        for title, words, _ in [panel]
    ]
    return page.side_by_side(made, kind="strip")


def picture_sections(folder: Path, scenes: Sequence[Scene]) -> list[Section]:
    """The sight that grows and the strips, also as files beside the page."""
    if not scenes:
        return []
    fields, looks = pictures.sight_panels(scenes[0])
    said, looked = pictures.strip_panels(scenes[0])
    (folder / "sight.png").write_bytes(pictures.draw_lines([("can see", fields), ("attention", looks)]))
    (folder / "strip.png").write_bytes(pictures.draw_lines([("answers", said), ("attention", looked)]))
    return [
        Section(
            "A query's sight grows from a cross to everything",
            "The ringed square asks for the digit of its colour, in the dashed frame. First line: what can reach the "
            "query at all, the exact field. Second line: where what does reach it comes from in the trained networks, "
            "by "
            "their attention; the area of a square is its share. With two passes the answer comes by way of one or "
            "both "
            "of the cells at which its row and column meet the query's.",
            figures(fields, "Exact field") + figures(looks, "Measured attention"),
        ),
        Section(
            "Image, R=1, R=2, ground truth",
            "First line: what is answered. A framed cell is a question: black on white is a right answer, white on "
            "black "
            "and struck through a wrong one. Second line: where what reaches the ringed question comes from.",
            figures(said, "Answers") + figures(looked, "Attention"),
        ),
    ]


def bars(results: Row, score: str, title: str) -> Markup:
    """Scores of every number of passes; with ceilings where they are those of the whole test."""
    whole = score == "score_mean"
    rows = [
        svg_charts.Bar(
            name=name_of(one),
            state=state_of(one["verdict"]),
            score=None if one[score] is None else float(one[score]),
            low=float(one["score_low"]) if whole else None,
            high=float(one["score_high"]) if whole else None,
            ceiling=float(one["ceiling"]) if whole else None,
        )
        for one in results["summary"]
    ]
    said = "; ".join(f"{bar.name} {bar.score:.2f}" for bar in rows if bar.score is not None)
    return svg_charts.bars(rows, float(results["chance"]), f"{title}: {said}")


def score_section(results: Row) -> Section:
    """Scores in all, on the cross and off it."""
    charts = [
        ("All questions", bars(results, "score_mean", "All questions")),
        ("The answer stands in the question's row or column", bars(results, "on_cross", "On the cross")),
        ("It stands elsewhere", bars(results, "off_cross", "Off the cross")),
    ]
    return Section(
        "What does a pass gain?",
        "Share of right pixels on test canvases, averaged over seeds; the whisker goes from the lowest to the "
        "highest. The "
        "tick is the ceiling, from the exact field; the dashed line is chance.",
        page.charts(charts),
    )


def cost_section(results: Row) -> Section:
    """Score against each cost that differs."""
    found = []
    for name, title, axis, words in COSTS:
        points = [
            svg_charts.Point(name_of(one), state_of(one["verdict"]), float(one[name]), float(one["score_mean"]))
            for one in results["summary"]
            if name in SHOWN_COSTS and one.get(name)
        ]
        if points:
            said = "; ".join(f"{one.name} {one.y:.2f} at {words(one.x)}" for one in points)
            chart = svg_charts.against_cost(points, words, float(results["chance"]), f"{title}: {said}", axis)
            found.append((title, chart))
    return Section(
        "What does a pass cost?",
        "All passes share their weights, so that a further pass costs no parameter. Costs are logarithmic; up and to "
        "the "
        "left is better.",
        page.charts(found),
    )


def tables_of(results: Row) -> list[Table]:
    """Scores and costs; sight."""
    head = ["R", "Score", "Lowest to highest", "Seeds", "Ceiling", "Mean IoU", *(cost[1] for cost in COSTS)]
    rows, sights = [], []
    for one in results["summary"]:
        costs = ["-" if one.get(name) is None else words(one[name]) for name, _, _, words in COSTS]
        spread = f"{one['score_low']:.3f} to {one['score_high']:.3f}"
        rows.append(
            [
                str(one["passes"]),
                f"{one['score_mean']:.3f}",
                spread,
                str(one["seeds"]),
                f"{one['ceiling']:.3f}",
                f"{one['mean_iou']:.3f}",
                *costs,
            ]
        )
        sights.append(
            [
                str(one["passes"]),
                f"{one['field']} of {one['positions']}",
                "yes" if one["found_bit_by_bit"] else "NO",
                str(one["routes_off_cross"]),
                *(percent(one[name]) for name in SHARES),
                percent(one["published_head_field"]),
            ]
        )
    return [
        Table("Score and cost", head, rows),
        Table(
            "Sight",
            [
                "R",
                "Cells seen",
                "Found bit by bit",
                "Routes to a cell off the cross",
                "Right on the cross",
                "Right off it",
                "Looks at the answer, on the cross",
                "Off it",
                "Arrives from the answer, on the cross",
                "Off it",
                "Field of the published head, 97 x 97",
            ],
            sights,
        ),
    ]


def write_page(folder: Path, results: Row, scenes: Sequence[Scene]) -> Path:
    """Write the page (and the pictures beside it) and return its path; scenes may be missing while the study runs."""
    sections = picture_sections(folder, scenes)
    if results["summary"]:
        sections += [score_section(results), cost_section(results)]
    runs = len(results["rows"])
    return page.write_page(
        folder,
        title="What does each further pass see, gain and cost?",
        question=(
            "Criss-cross attention with R passes of shared weights, on one backbone, with equal steps. Every square is "
            f"segmented with the class of the digit that has its colour, one of {results['settings']['digits']} "
            "anywhere."
        ),
        answer=answer_of(results),
        sections=sections,
        tables=tables_of(results) if results["summary"] else [],
        results=results,
        unfinished=f"{runs} {'training is' if runs == 1 else 'trainings are'} done; the page shows what is there.",
    )
