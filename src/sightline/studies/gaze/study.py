"""The study of the gaze: agents are trained, side by side, and every cell of what they see is erased in turn.

Left out: agents of other kinds; what is measured for one (`probing.py`) can be asked of any that attends.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sightline.envs.box_world import BoxWorld
from sightline.run import stop_on_interrupt, write_whole
from sightline.run.checkpoint import load_weights
from sightline.studies.folder import at_least_one, command_of, machine, open_study, versions, write_results
from sightline.studies.gaze import probing
from sightline.studies.gaze.page import write_page
from sightline.studies.gaze.probing import CHOICES, DECISIVE, KINDS, interval
from sightline.studies.gaze.training import CHAPTER, ENVIRONMENTS, LIMIT, ROWS, Training, build, train
from sightline.studies.progress import Column, Progress, Seen, pace_words
from sightline.studies.side_by_side import how_to_go_on, train_side_by_side
from sightline.studies.workers import stopped

NAME, ROW = "gaze", "row.json"
WORLD = BoxWorld(size=4, goal_length=(1,), distractors=(0,))  # a key, and the box with the gem
SAME = ("updates", "episodes", "quick")


@dataclass(frozen=True)
class Gaze:
    """Settings of the study."""

    out: Path = Path("runs/gaze")
    """Folder for the page, results.json and the run folders of the agents."""
    resume: bool = False
    """Go on with what lies in the folder."""
    seeds: int = 1
    """Agents, from seeds 0, 1, ..."""
    updates: int = 4000
    """Of each agent."""
    episodes: int = 100
    """Of each agent, whose states are probed."""
    workers: int = 1
    """Agents that are trained side by side, each with one thread."""
    quick: bool = False
    """Tiny settings that show the page in seconds; its numbers mean nothing."""


def trainings_of(settings: Gaze) -> list[Training]:
    """One for each seed."""
    updates, width = (6, 8) if settings.quick else (settings.updates, 32)
    return [Training(WORLD, updates, seed, width) for seed in range(settings.seeds)]


def run_training(training: Training, out: Path, resume: bool, episodes: int = 100) -> bool:
    """In a worker process: train, probe, write the row; False if it was stopped before."""
    policy = train(training, out, resume=resume, stop=stopped)
    if policy is None:
        return False
    seen = probing.play(policy, training.world, episodes, LIMIT, training.seed)
    row = {"seed": training.seed, **probing.probe(seen, policy, training.world)}
    write_whole(out / training.folder / ROW, json.dumps(row, allow_nan=False) + "\n")
    return True


def read_row(training: Training, out: Path) -> dict[str, Any] | None:
    """What a finished training left."""
    path = out / training.folder / ROW
    return json.loads(path.read_text()) if path.exists() else None


def progress_of(trainings: Sequence[Training], out: Path) -> Progress[Training]:
    """The table while they train."""

    def words(training: Training, seen: Seen) -> str:
        if seen.row is not None:
            return f"probed in {len(seen.row['episode'])} states, solves {seen.row['solved']:.2f}"
        solved = "" if seen.last is None else f", solves {seen.last['solved']:.2f}"
        return pace_words(training, seen) + solved

    return Progress(
        trainings,
        out,
        title="gaze",
        columns=[Column("agent", words=True), Column("how far", words=True)],
        cells=lambda training, seen: [training.title, words(training, seen)],
        line=words,
    )


def run(settings: Gaze) -> None:
    """Run the study, or what is left of it; some minutes for each agent. Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end.
    """
    at_least_one(settings, "seeds", "updates", "episodes", "workers")
    trainings = trainings_of(settings)
    out = open_study(settings, SAME)
    episodes = 4 if settings.quick else settings.episodes
    with stop_on_interrupt() as stop:
        progress = progress_of(trainings, out)
        finished = train_side_by_side(
            progress,
            stop,
            train=Probed(episodes),
            read_row=read_row,
            write=lambda: write_results(out, results_of(settings, progress, finished=False)),
            workers=min(settings.workers, len(trainings)),
            resume=settings.resume,
        )
        results = results_of(settings, progress, finished=finished)
        write_results(out, results)
        print(write_page(out, results, story(progress, out)))
    if not finished:
        raise KeyboardInterrupt(how_to_go_on(out))


@dataclass(frozen=True)
class Probed:
    """`run_training` with so many episodes, as a worker process can be handed it."""

    episodes: int

    def __call__(self, training: Training, out: Path, resume: bool) -> bool:
        """Train and probe."""
        return run_training(training, out, resume, self.episodes)


def story(progress: Progress[Training], out: Path) -> dict[str, Any] | None:
    """An episode of the first agent for the pictures: images, gazes, actions; None where there is none yet."""
    done = [training for training in progress.trainings if training in progress.rows]
    if not done:
        return None
    torch.set_num_threads(1)
    policy, _ = build(done[0])
    load_weights(out / done[0].folder, policy)
    policy.eval()
    world = done[0].world
    seen = probing.one_episode(policy, world, LIMIT, done[0].seed, 8, 16)
    if seen is None:
        seen = probing.play(policy, world, 1, 8, done[0].seed)
    after = probing.erased(seen, policy, world)
    return {
        "seen": seen,
        "after": after,
        "things": probing.things(seen, world),
        "background": probing.background(world),
    }


def results_of(settings: Gaze, progress: Progress[Training], *, finished: bool) -> dict[str, Any]:
    """What `results.json` holds."""
    rows = [progress.rows[training] for training in progress.trainings if training in progress.rows]
    one = progress.trainings[0]
    return {
        "study": NAME,
        "command": command_of(NAME, settings),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            **{name: value for name, value in asdict(settings).items() if name not in ("out", "resume")},
            "levels": asdict(one.world),
            "steps of each agent": one.steps,
            "environments": ENVIRONMENTS,
            "steps between updates": ROWS,
            "updates of a chapter": CHAPTER,
            "decisive": DECISIVE,
        },
        "rows": [  # of every state: row.json in each run folder
            {
                "seed": row["seed"],
                "solved": row["solved"],
                "states": len(row["episode"]),
                "decisive": sum(row["decisive"]),
                "gaze": row["gaze"],
            }
            for row in rows
        ],
        "summary": summarise(rows),
        "finished": finished,
    }


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares of states in which the first choice changes, over all agents and for each; and where the gaze lies."""
    if not rows:
        return {}
    return {
        "agents": len(rows),
        "solved": [row["solved"] for row in rows],
        "decisive": {choice: _changed(rows, choice, decisive=True) for choice in CHOICES},
        "all": {choice: _changed(rows, choice, decisive=False) for choice in CHOICES},
        "states": sum(len(row["episode"]) for row in rows),
        "decisive_states": sum(sum(row["decisive"]) for row in rows),
        "moved": {name: sum(map(sum, (row[name] for row in rows))) / sum(len(row[name]) for row in rows)
                  for name in ("moved", "moved_random_thing")},
        "gaze": {name: {key: sum(row["gaze"][name][key] for row in rows) / len(rows)
                        for key in ("share", "even", "first")} for name in KINDS},
    }  # fmt: skip


def _changed(rows: Sequence[Mapping[str, Any]], choice: str, *, decisive: bool) -> dict[str, Any] | None:
    values: list[float] = []
    groups: list[int] = []
    agents = []
    for place, row in enumerate(rows):
        own = [
            (value, place * 100_000 + episode)
            for value, episode, counts in zip(row["changed"][choice], row["episode"], row["decisive"], strict=True)
            if value is not None and (counts or not decisive)
        ]
        values += [value for value, _ in own]
        groups += [group for _, group in own]
        agents.append(sum(value for value, _ in own) / len(own) if own else None)
    if not values:
        return None
    mean, low, high = interval(values, groups)
    whole = all(value in (0.0, 1.0) for value in values)
    return {
        "share": mean,
        "low": low,
        "high": high,
        "states": len(values),
        "count": int(sum(values)) if whole else None,
        "agents": agents,
    }
