"""The study of Dyna: the book's three figures over hundreds of runs, and what learners with and without a model pay.

Tables come first (`learners.py`), a minute; then networks (`deep.py`), many times as long.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sightline.envs.maze import PLANS
from sightline.planning.jit import COMPILED
from sightline.studies.dyna import deep, learners
from sightline.studies.dyna.page import write_page
from sightline.studies.folder import at_least_one
from sightline.studies.measurements import Part, of_kind, run_parts

SAME = ("runs", "lives", "seeds", "quick")


@dataclass(frozen=True)
class DynaStudy:
    """Settings of the study."""

    out: Path = Path("runs/dyna")
    """Folder for the page and results.json."""
    resume: bool = False
    """Go on with what lies in the folder."""
    runs: int = 300
    """Runs of figure 8.2."""
    lives: int = 100
    """Lives of figures 8.4 and 8.5, and of each learner whose price is told."""
    seeds: int = 3
    """Lives of each learner with networks; 0: none."""
    quick: bool = False
    """A few runs that show the page in seconds; its numbers mean nothing."""


def parts_of(settings: DynaStudy) -> list[Part]:
    """All that is measured."""
    runs, lives = (4, 3) if settings.quick else (settings.runs, settings.lives)
    parts = [Part(f"episodes, {n}", partial(learners.episodes, n, runs)) for n in learners.FIGURE_8_2]
    for plan, (_, agents) in learners.FIGURES_8_4_AND_8_5.items():
        parts += [Part(f"lives, {plan}, {name}", partial(learners.lives, plan, name, lives)) for name in agents]
    parts += [Part(f"price, {name}", partial(learners.price, name, lives)) for name in learners.LEARNERS]
    how, seeds = life_of(settings), min(settings.seeds, 1) if settings.quick else settings.seeds
    return parts + [
        Part(f"deep, {name}, {seed}", partial(deep.life, name, seed, how))
        for seed in range(seeds)
        for name in deep.LEARNERS
    ]


def life_of(settings: DynaStudy) -> deep.Life:
    """How long the lives of learners with networks are."""
    return deep.QUICK if settings.quick else deep.Life()


def run(settings: DynaStudy) -> None:
    """Run the study, or what is left of it; its tables take a minute where Numba is. Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end.
    """
    at_least_one(settings, "runs", "lives")
    if min(settings.runs, settings.lives) < 2:
        raise ValueError("a spread needs 2 runs and lives or more: raise --runs and --lives")
    if settings.seeds < 0:
        raise ValueError(f"learners with networks have 0 lives or more, got --seeds {settings.seeds}")
    if not COMPILED:
        print("Numba is not installed, which takes a hundred times as long: pip install 'sightline[planning]'")
    facts = {
        "changes": {name: plan.change for name, plan in PLANS.items()},
        "figure 8.2": {"alpha": 0.1, "epsilon": 0.1, "gamma": 0.95},
        "figures 8.4 and 8.5": {
            plan: {name: {"n": one.n, "alpha": one.alpha, "kappa": one.kappa} for name, one in agents.items()}
            for plan, (_, agents) in learners.FIGURES_8_4_AND_8_5.items()
        },
    }
    run_parts(
        "dyna", settings, SAME, parts_of(settings), facts={**facts, "deep": asdict(deep.Life())},
        summarise=partial(summarise, how=life_of(settings)), write_page=write_page,
    )  # fmt: skip


def summarise(parts: Mapping[str, Any], how: deep.Life) -> dict[str, Any]:
    """What is there, by figure."""
    lived = of_kind(parts, "deep")
    found = {name: [value for words, value in lived if words[0] == name] for name in deep.LEARNERS}
    return {
        "deep": {name: deep.summary_of(lives, how) for name, lives in found.items() if lives},
        "episodes": {words[0]: value for words, value in of_kind(parts, "episodes")},
        "lives": {
            plan: {words[1]: value for words, value in of_kind(parts, "lives") if words[0] == plan}
            for plan in learners.FIGURES_8_4_AND_8_5
        },
        "price": {words[0]: value for words, value in of_kind(parts, "price")},
    }
