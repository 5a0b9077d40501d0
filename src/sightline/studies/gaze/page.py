"""The page of the gaze study: the answer as bars, where the gaze lies, and an episode with gaze and cause beside it.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from sightline.play.pictures import gaze_picture
from sightline.studies import page
from sightline.studies.gaze.probing import CHOICES, DECISIVE, KINDS, Seen
from sightline.studies.page import Section, Table
from sightline.vision.drawing.svg_charts import Bar, bars

Results = Mapping[str, Any]
MOVES = ("up", "down", "left", "right")
MOST, FAIR, ANY, LEAST, MOST_OTHER, FAIR_OTHER = CHOICES
SHOWN = 12  # steps of the episode
SIDE = 14  # pixels of the picture for a cell
LEAST_FULL = 6.0  # times the even share that full amber stands for, at least


def write_page(out: Path, results: Results, story: Mapping[str, Any] | None) -> Path:
    """Write the page, and the picture of the episode beside it; return the page's path."""
    made = (answer_section(results), episode_section(story), where_section(results))
    return page.write_page(
        out,
        title="Does an agent act on what it looks at?",
        question=(
            "An agent with one attention layer picks up a key, opens a box and takes the gem in BoxWorld. Its "
            "gaze can be "
            "drawn over the frames; whether the gaze is a cause is asked by erasing what lies there."
        ),
        answer=answer_of(results),
        sections=[section for section in made if section is not None],
        tables=tables_of(results),
        results=results,
        unfinished="The page shows what is there; --resume goes on.",
    )


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.1f} %"


def told(found: Mapping[str, Any] | None) -> str:
    """A share with its interval, and its count where there is one."""
    if found is None:
        return "-"
    count = "" if found["count"] is None else f", {found['count']} of {found['states']}"
    return f"{percent(found['share'])} [{percent(found['low'])}, {percent(found['high'])}]{count}"


def answer_of(results: Results) -> list[tuple[str, str]]:
    """The page's first lines."""
    summary = results["summary"]
    lines = (
        [("It ran with --quick:", "the numbers show the page and mean nothing.")]
        if results["settings"]["quick"]
        else []
    )
    if not summary or summary["decisive"][MOST] is None:
        return lines
    decisive, every = summary["decisive"], summary["all"]
    most, fair, random = decisive[MOST], decisive[FAIR], decisive[ANY]
    easy = "far more often than a random cell" if most["low"] > 2 * random["high"] else "hardly more than a random cell"
    hard = "and more often than a random thing" if most["low"] > fair["high"] else "but not more than a random thing"
    if most["high"] < fair["low"]:
        hard = "but less often than a random thing"
    empty = summary["gaze"][KINDS[-1]]["first"]
    lines += [
        (
            f"{easy.capitalize()}, {hard}:",
            f"where the agents are sure, erasing the most looked-at cell changes what they do in {told(most)} states, "
            f"erasing a random cell in {told(random)}. That comparison is easy, as most cells are floor; a random cell "
            f"with something on it does in {told(fair)}. The most looked-at cell is an empty one in "
            f"{percent(empty)} of "
            "all states.",
        )
    ]
    other, other_fair = decisive[MOST_OTHER], decisive[FAIR_OTHER]
    if other is not None and other_fair is not None:
        lines.append(
            (
                "Among things, the gaze tells what counts"
                + (":" if other["low"] > other_fair["high"] else " no better than chance:"),
                f"the agent's own cell aside, the most looked-at thing {told(other)}, a random thing "
                f"{told(other_fair)}; "
                f"over all states, sure or "
                f"not, {told(every[MOST_OTHER])} and {told(every[FAIR_OTHER])}.",
            )
        )
    if decisive[LEAST] is not None:
        lines.append(("The thing that is looked at least:", f"{told(decisive[LEAST])}."))
    gaze = summary["gaze"]
    first = max(KINDS, key=lambda name: gaze[name]["first"])
    lines.append(
        (
            "Where they look:",
            f"the agent's own cell takes {percent(gaze[KINDS[0]]['share'])} of the gaze and what it needs next "
            f"{percent(gaze[KINDS[1]]['share'])}, where an even look would give {percent(gaze[KINDS[0]]['even'])} and "
            f"{percent(gaze[KINDS[1]]['even'])}; {first} {'are' if first.endswith('s') else 'is'} looked at most in "
            f"{percent(gaze[first]['first'])} of the states.",
        )
    )
    solved = summary["solved"]
    lines.append(
        (
            "Sure means",
            f"that the first choice has a probability of {DECISIVE:g} or more: {summary['decisive_states']} of "
            f"{summary['states']} states, of {summary['agents']} agents that solve "
            f"{', '.join(percent(one) for one in solved)} of their levels with drawn actions. Intervals are of 95 %, "
            "over episodes.",
        )
    )
    return lines


def answer_chart(results: Results, which: str) -> Markup | None:
    """Bars of how often the action changes."""
    found = results["summary"].get(which)
    if not found:
        return None
    rows = [
        Bar(
            f"{name} ({found[name]['count']} of {found[name]['states']})" if found[name]["count"] is not None else name,
            "learned" if name.startswith("most") else "unknown",
            found[name]["share"],
            found[name]["low"],
            found[name]["high"],
            swatch="",
        )
        for name in CHOICES
        if found[name] is not None
    ]
    said = "; ".join(f"{name} {found[name]['share']:.2f}" for name in CHOICES if found[name] is not None)
    return bars(rows, None, f"How often erasing changes the action: {said}")


def answer_section(results: Results) -> Section | None:
    """The bars."""
    charts = [
        (title, answer_chart(results, which))
        for title, which in (("In decisive states", "decisive"), ("In all states", "all"))
    ]
    shown = [(title, chart) for title, chart in charts if chart is not None]
    if not shown:
        return None
    return Section(
        "How often does erasing one cell change the action?",
        "Erasing paints a cell as floor, or as wall at the border. A random cell is mostly floor, where erasing does "
        "nothing; a random thing is a random one of the cells that show something: the agent, key, lock, gem, "
        "the key in "
        "hand. Blue: chosen by the gaze; grey: not. Whiskers are 95 % intervals over episodes.",
        page.charts(shown),
    )


def episode_pictures(story: Mapping[str, Any]) -> list[tuple[UInt8[np.ndarray, "h w 3"], str, str]]:
    """For each step the frame, the gaze on it and what erasing each cell does, side by side in one picture."""
    seen: Seen = story["seen"]
    n, h, w = seen.gaze.shape
    after: Float[np.ndarray, "n cells 4"] = story["after"]
    moved = np.abs(after - seen.share[:, None]).sum(2).reshape(n, h, w) / 2
    full = max(LEAST_FULL, float(seen.gaze.max()) / seen.even)
    found = []
    for step in range(min(n, SHOWN)):
        frame = seen.image[step]
        large = frame.repeat(SIDE, 0).repeat(SIDE, 1)
        look = gaze_picture(large, seen.gaze[step] / seen.even, full)
        cause = gaze_picture(large, 1 + moved[step], 2.0)
        gap = np.full((len(large), SIDE // 2, 3), 128, np.uint8)
        choice = int(seen.share[step].argmax())
        top = int(seen.gaze[step].argmax())
        other = int(after[step, top].argmax())
        shown = bool(story["things"][step].reshape(-1)[top])
        words = "floor or wall: nothing to erase" if not shown else (
            "still " + MOVES[other] if other == choice else f"{MOVES[other]} instead"
        )  # fmt: skip
        title = f"{step + 1}: {MOVES[choice]} {seen.share[step, choice]:.2f}"
        found.append((np.concatenate([large, gap, look, gap, cause], 1), title, f"erased: {words}"))
    return found


def episode_section(story: Mapping[str, Any] | None) -> Section | None:
    """One episode."""
    if story is None:
        return None
    figures = [
        page.picture(
            page.png_bytes(image),
            f"Frame, gaze and effect of erasing. {title}. {words}",
            title=title,
            caption=words,
            pixels=True,
        )
        for image, title, words in episode_pictures(story)
    ]
    return Section(
        "An episode: what is there, what is looked at, what counts",
        "For each step three pictures. Left: what the agent sees (dark grey: the agent; two cells: a box, its "
        "lock on the "
        "right; top left: the key in hand). Middle: its gaze, the more amber the more; the white frame marks the most "
        "looked-at cell. Right: how far the policy moves when a cell is erased, full amber for entirely. The line "
        "below says what it does, how sure it is, and what it does once the most looked-at cell is erased. A position "
        "has read its 3 x 3 surroundings before it is looked at, so that a look at the floor beside a thing may be one "
        "at the thing.",
        page.side_by_side(figures, kind="row"),
    )


def gaze_chart(results: Results) -> Markup | None:
    """Where the gaze lies, against an even look."""
    gaze = results["summary"].get("gaze")
    if not gaze:
        return None
    rows = [
        Bar(name, "learned", gaze[name]["share"], note=f"even look {gaze[name]['even']:.2f}", swatch="")
        for name in KINDS
    ]
    said = "; ".join(f"{name} {gaze[name]['share']:.2f}, even {gaze[name]['even']:.2f}" for name in KINDS)
    return bars(rows, None, f"Shares of the gaze: {said}")


def where_section(results: Results) -> Section | None:
    """The gaze by kind of cell."""
    chart = gaze_chart(results)
    if chart is None:
        return None
    return Section(
        "Where the gaze lies",
        "The mean of the heads of the class token, which is the only way from the image to the policy, over all "
        "states and "
        "agents. Beside each bar, what a look at all cells alike would give.",
        page.charts([("Share of the gaze", chart)]),
    )


def tables_of(results: Results) -> list[Table]:
    """Every number."""
    summary = results["summary"]
    if not summary:
        return []
    head = ["Erased", "Decisive states", "Agents apart", "All states", "Agents apart"]

    def agents(found: Mapping[str, Any] | None) -> str:
        return "-" if found is None else ", ".join("-" if one is None else f"{one:.2f}" for one in found["agents"])

    rows = [
        [name, *(cell for which in ("decisive", "all")
                 for cell in (told(summary[which][name]), agents(summary[which][name])))]
        for name in CHOICES
    ]  # fmt: skip
    places = [[name, *(f"{summary['gaze'][name][key]:.3f}" for key in ("share", "even", "first"))] for name in KINDS]
    solved = [
        [str(row["seed"]), f"{row['solved']:.2f}", str(row["states"]), str(row["decisive"])] for row in results["rows"]
    ]
    return [
        Table("How often erasing one cell changes the most probable action; 95 % intervals over episodes", head, rows),
        Table("Where the gaze lies", ["Cell", "Share of the gaze", "Even look", "Looked at most"], places),
        Table("Agents", ["Seed", "Levels solved", "States", "Decisive"], solved),
    ]


def charts_of(results: Results) -> dict[str, Markup]:
    """The charts of the docs by the name of their file."""
    found = {"answer": answer_chart(results, "decisive"), "where": gaze_chart(results)}
    return {name: chart for name, chart in found.items() if chart is not None}
