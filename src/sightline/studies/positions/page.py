"""The page of the position study: who knows where, at the size of training and at others, as tables of tiles.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sightline.studies import page
from sightline.studies.charts import Tile, heat
from sightline.studies.page import Section, Table
from sightline.studies.positions import pictures
from sightline.studies.positions.training import Training

GOOD = 0.9  # a score from which on a question counts as answered
SENSES = {  # what a question needs to know, as a heading, and as a sentence
    "left": ("Green: the digit in the cell to my left", "One step away: a place relative to the question's own."),
    "row": ("Red: the red digit of my row", "The same row, however far along it."),
    "quadrant": (
        "Blue: my quadrant",
        "A share of the whole image: the same cell means another answer at another size.",
    ),
    "back": ("The token three places before", "A distance, the same at every place."),
    "first": ("The first token", "One absolute place, however far back."),
}
Row = Mapping[str, Any]


def size_words(size: Sequence[int]) -> str:
    """A size as it is written above a column."""
    return " x ".join(map(str, size))


def of_task(results: Row, task: str) -> list[Row]:
    """The summaries of one task."""
    return [one for one in results["summary"] if one["task"] == task]


def trained_size(results: Row, task: str) -> list[int]:
    """What a task was trained at."""
    settings = results["settings"]
    return list(settings["cells"]) if task == "image" else [settings["length"]]


def score(summary: Row, kind: str, size: Sequence[int]) -> float:
    """The mean score at one size."""
    return next(test["scores"][kind]["mean"] for test in summary["tests"] if list(test["size"]) == list(size))


def worst_elsewhere(summary: Row, kind: str, trained: Sequence[int]) -> float:
    """The mean score at the worst of the sizes that were not trained."""
    return min(test["scores"][kind]["mean"] for test in summary["tests"] if list(test["size"]) != list(trained))


def answer_of(results: Row) -> list[tuple[str, str]]:
    """One line for each kind of question: who answers it where it was trained, and who still does elsewhere."""
    lines = []
    for task in ("image", "sequence"):
        summaries, trained = of_task(results, task), trained_size(results, task)
        if not summaries:
            continue
        kinds = list(summaries[0]["tests"][0]["scores"])
        if task == "image":
            lines.append(all_senses(summaries, kinds, trained))
        for kind in kinds:
            there = [one["scheme"] for one in summaries if score(one, kind, trained) >= GOOD]
            elsewhere = [one["scheme"] for one in summaries if worst_elsewhere(one, kind, trained) >= GOOD]
            nearest, best = max((worst_elsewhere(one, kind, trained), place) for place, one in enumerate(summaries))
            only = [name for name in there if name not in elsewhere]
            at = f"At {size_words(trained)}" if task == "image" else f"At length {trained[0]}"
            rest = f"{at}, where it was trained, {'also ' if elsewhere else ''}{_listed(only)}."
            if elsewhere:
                lines.append((f"{SENSES[kind][0]}, at every size: {_listed(elsewhere)}.", rest))
                continue
            rest += f" {summaries[best]['scheme']} comes nearest, {nearest:.2f} at its worst size."
            lines.append((f"{SENSES[kind][0]}, at every size: nobody.", rest))
    return lines


def all_senses(summaries: Sequence[Row], kinds: Sequence[str], trained: Sequence[int]) -> tuple[str, str]:
    """Who answers every kind of question at every size."""
    every = [
        one["scheme"]
        for one in summaries
        if all(min(score(one, kind, trained), worst_elsewhere(one, kind, trained)) >= GOOD for kind in kinds)
    ]
    if every:
        return f"Everywhere, in every sense: {_listed(every)}.", f"A score of {GOOD} or better at every size."
    return (
        "No encoding knows where in all three senses at every size.",
        f"Which one to take depends on what the question means by where (answered is a score of {GOOD} or better).",
    )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nobody"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def tiles(results: Row, task: str, kind: str) -> Markup:
    """Schemes against sizes."""
    summaries = of_task(results, task)
    sizes = [test["size"] for test in summaries[0]["tests"]]
    rows = []
    for one in summaries:
        cells = [Tile(*(test["scores"][kind][name] for name in ("mean", "low", "high"))) for test in one["tests"]]
        rows.append((one["scheme"], cells))
    bound = (
        {size_words(one["size"]): one["scores"][kind] for one in results["without_where"]} if task == "image" else {}
    )
    if bound:
        rows.append(("best without where", [Tile(bound[size_words(size)]) for size in sizes]))
    trained = size_words(trained_size(results, task))
    return heat(rows, [size_words(size) for size in sizes], float(results["chance"][kind]), trained)


def score_sections(results: Row) -> list[Section]:
    """A section for each task."""
    found = []
    titles = {
        "image": (
            "Images: who knows where, and still knows it at other sizes?",
            "Scores, averaged over seeds; small print, where there is room, gives the lowest and the highest. Columns "
            "are "
            "sizes in cells, rows by columns; the underlined one was trained. Dark is right, white is guessing. The "
            "last row is the best "
            "that can be had without knowing where, counted on the same canvases.",
        ),
        "sequence": (
            "Sequences: tested up to four times the training length",
            "Causal transformers. Columns are lengths, the underlined one was trained; scores count the last "
            "places only, which no training at its length has seen at a greater one.",
        ),
    }
    for task, (title, text) in titles.items():
        summaries = of_task(results, task)
        if summaries:
            kinds = list(summaries[0]["tests"][0]["scores"])
            parts = [
                Markup("<section><h3>{}</h3><p class='quiet'>{}</p>{}</section>").format(
                    SENSES[kind][0], SENSES[kind][1], tiles(results, task, kind)
                )
                for kind in kinds
            ]
            inner = Markup("").join(parts)
            found.append(Section(title, text, Markup('<div class="heats">{}</div>').format(inner)))
    return found


def knows_section(results: Row) -> Section:
    """What each scheme could know, by reordering the patches."""
    rows = [
        [one["scheme"], one["words"], *(f"{one[name]:.0e}" for name in ("shuffle", "mirror", "turn"))]
        for one in results["knows"]
    ]
    return Section(
        "What could each of them know at all?",
        "Untrained transformers in float64. The patches are put in another order; if the tokens come out in that order "
        "and are otherwise the same (the number is the largest difference, rounding is below 1e-12), the scheme cannot "
        "tell the two arrangements apart, however it is trained.",
        page.table_markup(
            ["Scheme", "Can know", "Any shuffle", "Mirror image", "Quarter turn"], rows, "Reorderings", names=2
        ),
    )


def tables_of(results: Row) -> list[Table]:
    """Every score, with its spread."""
    found = []
    for task in ("image", "sequence"):
        summaries = of_task(results, task)
        if not summaries:
            continue
        sizes = [test["size"] for test in summaries[0]["tests"]]
        rows = [
            [
                one["scheme"],
                kind,
                *(_spread(test["scores"][kind], one["seeds"]) for test in one["tests"]),
                str(one["seeds"]),
                page.in_thousands(one["parameters"]),
                f"{one['seconds']:.0f} s",
            ]
            for kind in summaries[0]["tests"][0]["scores"]
            for one in summaries
        ]
        head = ["Scheme", "Question", *map(size_words, sizes), "Seeds", "Parameters", "Training"]
        found.append(Table(f"{task.capitalize()}s: share of right answers", head, rows, names=2))
    return found


def _spread(scores: Mapping[str, float], seeds: int) -> str:
    mean = f"{scores['mean']:.2f}"
    return mean if seeds < 2 else f"{mean} [{scores['low']:.2f}, {scores['high']:.2f}]"


def write_page(folder: Path, results: Row, done: Sequence[Training]) -> Path:
    """Write the page (and the pictures beside it) and return its path; `done` is what has weights to draw from."""
    sections = []
    if any(training.task == "image" for training in done) or results["knows"]:
        task, alt = pictures.draw_task(), "A canvas with an arrow from each question to its answer"
        (folder / "task.png").write_bytes(task)
        text = (
            "Every cell holds a digit, each row one red one, and squares are questions. Without knowing where, all "
            "white "
            "(or red) digits are equally likely answers."
        )
        sections.append(Section("The task", text, page.side_by_side([page.picture(task, alt)])))
    sections += score_sections(results)
    strip = pictures.strip(folder, done)
    if strip is not None:
        drawn, size = strip
        (folder / "strip.png").write_bytes(drawn)
        sections.append(
            Section(
                f"The same canvas, answered: {size_words(size)} cells, a size that was never trained",
                "White is a right answer, black and struck through a wrong one; digits for green and red questions, "
                "arrows for quadrants.",
                page.side_by_side([page.picture(drawn, "Answers of several schemes on one test canvas")], kind="wide"),
            )
        )
    if results["knows"]:
        sections.append(knows_section(results))
    return page.write_page(
        folder,
        title="Who knows where?",
        question=(
            "Attention does not know where things are unless it is told. Which way of telling it works, "
            "and which still works at sizes that were never trained?"
        ),
        answer=answer_of(results),
        sections=sections,
        tables=tables_of(results),
        results=results,
        unfinished=f"{len(done)} trainings are done; the page shows what is there.",
    )
