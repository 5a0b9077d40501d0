"""`play.html`: one self-contained page on which a reader walks through every step that the agent took.

Frames are WebP inside the page. Where they would make it larger than a page may be, they are made smaller and then
fewer, and the page says so.

Left out: the video, which is a file beside the page.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image

from sightline.play.episodes import Episode, pixels_of
from sightline.play.gaze import half_cells
from sightline.play.pictures import views
from sightline.rl.runs.act import EVALUATION
from sightline.rl.runs.build import discount_of
from sightline.rl.runs.loaded import LoadedAgent
from sightline.run.config import read_config
from sightline.run.files import write_whole
from sightline.vision.drawing.pages import fill_in, picture_uri

BUDGET = 12_000_000  # characters of all pictures
SHARP = 240  # pixels below which a frame is enlarged without smoothing
SIDES = (480, 320, 200, 120)  # pixels of a picture's longer side, tried in this order


def write_page(
    file: Path,
    agent: LoadedAgent,
    episodes: Sequence[Episode],
    *,
    greedy: bool,
    caption: str,
    full: float,
    same: bool,
    rate: float,
    command: str,
    budget: int = BUDGET,
) -> Path:
    """Write the page and return where it lies.

    Args:
        file: the page.
        agent: who played.
        episodes: what it played.
        greedy: whether it took the most probable actions.
        caption: what the gaze is; empty where there is none.
        full: what full amber stands for.
        same: whether the gaze lies on the frames.
        rate: frames a second.
        command: that wrote it.
        budget: characters of all pictures.

    Raises:
        OSError: it cannot be written.
    """
    config = read_config(agent.folder)
    kept, every = _packed(episodes, full, same, bool(caption), budget)
    data = {
        "rate": rate,
        "every": every,
        "episodes": [
            {"total": one.total, "ended": one.ended, "pictures": pictures, "steps": [_step(step) for step in one.steps]}
            for one, pictures in zip(episodes, kept, strict=True)
        ],
    }
    here, frame = Path(__file__).parent, pixels_of(episodes[0].last)
    expects = ""
    if not isinstance(agent.agent, str):
        expects = (
            f"The return that it expects is discounted by {discount_of(agent.agent, agent.policy.fit.space):g} a step"
        )
        expects += (
            ", and in the scale of the rewards that it learned from, which were normalised."
            if config["normalise_rewards"]
            else "."
        )
    values = {
        "environment": agent.environment["env"],
        "answers": answers(agent, config, episodes, greedy),
        "caption": caption,
        "wide": frame.shape[1] > 1.2 * frame.shape[0],
        "thinned": ""
        if every == 1
        else f"To keep the page small it shows one frame in {every}; the numbers are all here.",
        "expects": expects,
        "small": max(frame.shape[:2]) < SHARP,
        "rows": [
            (str(number), f"{one.total:.4g}", str(len(one.steps)), one.ended) for number, one in enumerate(episodes, 1)
        ],
        "facts": [
            ("run", str(agent.folder)),
            ("command", command),
            ("environment", json.dumps(agent.environment)),
            ("policy", json.dumps(config["policy"]["arguments"])),
        ],
        "data": Markup(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")),
    }
    text = fill_in(here / "page.html.j2", values, style=here / "page.css", script=here / "page.js")
    write_whole(file, text)
    return file


def answers(
    agent: LoadedAgent, config: dict[str, Any], episodes: Sequence[Episode], greedy: bool
) -> list[tuple[str, str]]:
    """What it does, how well, and where it looks: a question and a sentence each."""
    told = agent.agent
    name = f"A network that {told}" if isinstance(told, str) else type(told).__name__
    steps = [step for one in episodes for step in one.steps]
    counts = Counter(step.action for step in steps)
    how = "takes the most probable action" if greedy else "draws its actions"
    did = f"{name}, trained for {agent.steps} steps, {how}"
    if len(counts) <= 8 and any(bar.at is None for bar in steps[0].bars):
        parts = [f"{action} {100 * count / len(steps):.0f}\u00a0%" for action, count in counts.most_common()]
        did += f": {', '.join(parts)} of the time"
    totals = np.array([one.total for one in episodes])
    well = f"Return {totals.mean():.4g}" + (
        f" on average over {len(totals)} episodes (from {totals.min():.4g} to {totals.max():.4g})"
        if len(totals) > 1
        else " in one episode"
    )
    lengths = [len(one.steps) for one in episodes]
    well += f", {np.mean(lengths):.4g} steps each." if len(lengths) > 1 else f", {lengths[0]} steps."
    evaluation = agent.folder / EVALUATION
    if evaluation.is_file():
        told = json.loads(evaluation.read_text())
        well += f" The run's own evaluation: {told['mean']:.4g} ± {told['spread']:.3g} over {told['episodes']}."
    found = [("What does it do?", f"{did}."), ("How well?", well)]
    gazes = [step.gaze for step in steps if step.gaze is not None]
    if gazes:
        cells = gazes[0].weights.size
        half = float(np.mean([half_cells(one.weights) for one in gazes]))
        most = float(np.mean([one.weights.max() / one.even for one in gazes]))
        found.append(
            (
                "Where does it look?",
                f"Half of its attention lies on {half:.3g} of {cells} cells (an even look: {cells / 2:g}); the cell "
                f"with most gets {most:.1f} times an even share.",
            )
        )
    return found


def _packed(
    episodes: Sequence[Episode], full: float, same: bool, gazes: bool, budget: int
) -> tuple[list[list[list[str | None]]], int]:
    """Of every episode the addresses of [frame, gaze] for each picture that is kept, and how many steps lie between."""
    total = sum(len(one.steps) + 1 for one in episodes)
    middle = episodes[0]
    for every in (1, 2, 4, 8, 16, 32):
        for side in SIDES:
            probe = [part for pair in views(middle, full, same, gazes) for part in pair if part is not None]
            some = probe[:: max(1, len(probe) // 12)]
            size = np.mean([len(_uri(one, side)) for one in some]) * total * (2 if gazes else 1) / every
            if size <= budget:
                return [_pictures(one, full, same, gazes, side, every) for one in episodes], every
    return [_pictures(one, full, same, gazes, SIDES[-1], 64) for one in episodes], 64


def _pictures(episode: Episode, full: float, same: bool, gazes: bool, side: int, every: int) -> list[list[str | None]]:
    count = len(episode.steps)
    return [
        [None if one is None else _uri(one, side) for one in pair]
        for at, pair in enumerate(views(episode, full, same, gazes))
        if at % every == 0 or at == count
    ]


def _uri(picture: UInt8[np.ndarray, "h w 3"], side: int) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    few = image.getcolors(256) is not None  # drawn by cells: sharp, and smaller without loss
    file = BytesIO()
    image.save(file, format="WEBP", lossless=few, quality=80, method=2)
    return picture_uri(file.getvalue(), "image/webp")


def _step(step: Any) -> dict[str, Any]:
    bars = [{key: _short(value) for key, value in asdict(bar).items()} for bar in step.bars]
    return {"action": step.action, "value": _short(step.value), "reward": _short(step.reward), "bars": bars}


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
