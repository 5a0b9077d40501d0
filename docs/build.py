"""Redraw what the docs show from what owns it: `python docs/build.py` draws docs/pictures, README's tree of files, and
the tables of the studies from docs/results, copies of each study's results.json.

Left out: the measuring itself; each number's command stands beside it and takes longer than a page may.
"""

import ast
import json
import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path

from sightline.studies import convolution_free_page, field_picture, memory_page
from sightline.studies.actor_critic import figures as actor_critic_figures
from sightline.studies.actor_critic import page as actor_critic_page
from sightline.studies.dyna import figures as dyna_figures
from sightline.studies.dyna import page as dyna_page
from sightline.studies.gaussian_policy import page as gaussian_policy_page
from sightline.studies.gaze import page as gaze_page
from sightline.studies.line_charts import standalone
from sightline.studies.page import Table, markdown
from sightline.studies.policy_vs_value import figures as policy_vs_value_figures
from sightline.studies.policy_vs_value import page as policy_vs_value_page
from sightline.studies.positions import page as positions_page
from sightline.studies.receptive_field import page as receptive_field_page
from sightline.studies.recurrence import page as recurrence_page

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
RECALL, KEY_CLASS = (ROOT / "docs" / "results" / f"{name}.json" for name in ("recall", "key-class"))
WIDTH = 140  # characters of a line


def role(path: Path) -> str:
    """The first sentence of a file's docstring, without sources in brackets, as short as a line of the tree."""
    paragraph = str(ast.get_docstring(ast.parse(path.read_text()))).split("\n\n")[0].replace("\n", " ")
    bare = re.sub(r" \([^()]*(?:http|et al|`)[^()]*\)", "", paragraph).replace("`", "")
    sentence = re.split(r"[.?!](?:\s|$)", bare)[0]
    return re.split(r": (?=[A-Z])", sentence)[0]


def tree() -> str:
    """Every file of the package with its role, room by room."""
    lines = ["```", "src/sightline/"]
    house = ROOT / "src" / "sightline"
    for path in sorted(house.rglob("*.py"), key=lambda p: (p.parent.parts, p.name)):  # a room's files, then rooms in it
        *rooms, name = path.relative_to(house).parts
        if rooms and name == "__init__.py":
            lines.append(_line(f"{'  ' * len(rooms)}{rooms[-1]}/", role(path)))
        else:
            lines.append(_line(f"  {'  ' * len(rooms)}{name}", role(path)))
    return "\n".join([*lines, "```", ""])


def _line(name: str, what: str) -> str:
    line = f"{name:<28} {what}"
    if len(line) <= WIDTH:
        return line
    return re.split(r"[,;:] (?!.*[,;:] )", line[:WIDTH])[0]  # up to the last clause that fits


def scores() -> str:
    """The recall table of the front page: score over the seeds at 4 and 8 digits, and what it cost at 8."""
    results = json.loads(RECALL.read_text())
    found = {(one["task"], one["digits"], one["network"]): one for one in results["summary"]}
    seeds = min(one["seeds"] for one in results["summary"] if one["task"] == "recall")
    lines = [
        f"| recall, mean of {seeds} seeds | 4 digits: score (ceiling) | 8 digits: score (ceiling) "
        "| training, CPU s | peak memory, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for network in _networks(results):
        four, eight = found["recall", 4, network], found["recall", 8, network]
        marks = [_bold(f"{one['score_mean']:.2f} ({one['ceiling']:.2f})", one) for one in (four, eight)]
        lines.append(
            f"| {network} | {marks[0]} | {marks[1]} | {eight['seconds']:.0f} | {eight['peak_memory'] / 1e6:.0f} |"
        )
    return "\n".join([*lines, ""])


def _bold(text: str, one: dict) -> str:
    return f"**{text}**" if one["verdict"] == "learned" else text


def verdicts() -> str:
    """Every task and network: score with its lowest and highest seed, ceiling and verdict."""
    lines = []
    for results in (json.loads(path.read_text()) for path in (RECALL, KEY_CLASS)):
        lines += [f"    {results['command']}", "", "| task | network | score | seeds | ceiling | verdict |"]
        lines.append("|---|---|---:|---:|---:|---|")
        for one in results["summary"]:
            spread = f"{one['score_mean']:.3f} [{one['score_low']:.3f}, {one['score_high']:.3f}]"
            task = f"{one['task']}, {one['digits']} digits"
            lines.append(
                f"| {task} | {one['network']} | {spread} | {one['seeds']} | {one['ceiling']:.3f} | {one['verdict']} |"
            )
        lines.append("")
    return "\n".join(lines)


def study(name: str, tables_of: Callable[[dict], Sequence[Table]], *which: int) -> str:
    """The command of a study and some of the tables of its page."""
    results = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())
    tables = tables_of(results)
    return "\n".join([f"    {results['command']}", "", *(markdown(tables[place]) for place in which)])


def _networks(results: dict) -> list[str]:
    return list(dict.fromkeys(one["network"] for one in results["summary"]))


CHARTS = {
    "actor-critic": actor_critic_figures.all_of,
    "dyna": dyna_figures.all_of,
    "gaussian-policy": gaussian_policy_page.charts_of,
    "gaze": gaze_page.charts_of,
    "policy-vs-value": policy_vs_value_figures.all_of,
}


def charts(name: str) -> None:
    """Draw the charts of a study's page, from its committed numbers, as files of their own."""
    results = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())
    for what, chart in CHARTS[name](results).items():
        path = PICTURES / f"{name}-{what}.svg"
        path.write_text(standalone(chart))
        print(path)


WRITTEN = {  # page, what stands between `<!-- what: make docs -->` and `<!-- end of what -->`
    ("README.md", "tree"): tree,
    ("README.md", "scores"): scores,
    ("docs/long-range.md", "verdicts"): verdicts,
    ("docs/study-convolution-free.md", "numbers"): lambda: study(
        "convolution-free", convolution_free_page.tables_of, 0, 2
    ),
    ("docs/study-actor-critic.md", "numbers"): lambda: study("actor-critic", actor_critic_page.tables_of, 0, 1, 2, 3),
    ("docs/study-policy-vs-value.md", "numbers"): lambda: study(
        "policy-vs-value", policy_vs_value_page.tables_of, 0, 1, 2, 3
    ),
    ("docs/study-gaussian-policy.md", "numbers"): lambda: study(
        "gaussian-policy", gaussian_policy_page.tables_of, 0, 1, 2
    ),
    ("docs/study-dyna.md", "numbers"): lambda: study("dyna", dyna_page.tables_of, 0, 1, 2, 3),
    ("docs/study-gaze.md", "numbers"): lambda: study("gaze", gaze_page.tables_of, 0, 1, 2),
    ("docs/study-memory.md", "numbers"): lambda: study("memory", memory_page.tables_of, 0),
    ("docs/study-positions.md", "numbers"): lambda: study("positions", positions_page.tables_of, 0, 1),
    ("docs/study-receptive-field.md", "numbers"): lambda: study(
        "receptive-field", receptive_field_page.tables_of, 0, 1, 2, 3
    ),
    ("docs/study-recurrence.md", "numbers"): lambda: study("recurrence", recurrence_page.tables_of, 0, 1),
}


def between(what: str) -> re.Pattern[str]:
    """The part of a page that is written here."""
    return re.compile(rf"(?<=<!-- {what}: make docs -->\n).*?(?=<!-- end of {what} -->)", re.DOTALL)


def main() -> None:
    """Draw the pictures, write the tree and the tables, and print where each lies."""
    for (page, what), write in WRITTEN.items():
        path = ROOT / page
        text = write()
        path.write_text(between(what).sub(lambda _, text=text: text, path.read_text()))
        print(f"{path}: {what}")
    print(field_picture.draw(PICTURES, name="first.png"))
    for name in CHARTS:
        charts(name)
    for name in ("positions.py", "augmentation.py", "fields.py"):
        runpy.run_path(str(PICTURES / name), run_name="__main__")


if __name__ == "__main__":
    main()
