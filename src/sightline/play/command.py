"""`sightline play RUN`: a trained agent plays, and a video and a page show what it did, why, and where it looked.

Left out: a window, playing against an agent, and agents of other libraries.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.vector import SyncVectorEnv
from tyro.conf import Positional

from sightline.play.episodes import Episode, play_episodes
from sightline.play.page import write_page
from sightline.play.pictures import ENDINGS, MARKED, shows_the_same, strongest, write_video
from sightline.rl.runs.loaded import LoadedAgent, load_agent

RATE = 30.0  # frames a second where an environment does not say


@dataclass(frozen=True)
class Play:
    """Watch a trained agent: a video and a page, with its gaze where its encoder attends."""

    run: Positional[Path]
    """Folder of a run of sightline act."""
    episodes: int = 3
    """How many are played."""
    out: Path | None = None
    """The video, .webp, .gif or .png; the page lies beside it as .html. By default play.webp in the run's folder."""
    greedy: bool = True
    """Take the most probable action rather than draw one."""
    seed: int = 0
    """Of the environment and of drawn actions."""
    gaze: bool | None = None
    """Draw where the policy looks; by default where its encoder attends."""
    scale: int = 0
    """Pixels of the video for each pixel of a frame; 0: as many as make it about 320 high or wide."""
    longest: int = 1000
    """Steps after which an episode is cut off; 0: never."""
    trust: bool = False
    """Import environments and encoders from outside sightline, which runs their code."""


def run(settings: Play) -> list[Episode]:
    """Play, write video and page, say how it went.

    Raises:
        ValueError: a setting that does not fit, an environment that does not draw, or no attention where a gaze is
            asked for.
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        OSError: a file cannot be written.
    """
    file = settings.run / "play.webp" if settings.out is None else settings.out
    if file.suffix.lower() not in ENDINGS:
        raise ValueError(f"a video ends in {', '.join(ENDINGS)}, got --out {file}: name it so (there is no mp4 here)")
    if settings.episodes < 1 or settings.scale < 0 or settings.longest < 0:
        raise ValueError(
            f"1 episode or more, a scale and a longest of 0 or more: got {settings.episodes}, {settings.scale} and "
            f"{settings.longest}"
        )
    agent = load_agent(settings.run, trust=settings.trust)
    if settings.gaze and not agent.policy.actor_body.images:
        raise ValueError(
            f"--gaze was asked and the policy of {settings.run} reads no image, so it looks nowhere: leave it out"
        )
    env = drawing_environment(agent)
    try:  # one thread: one observation at a time keeps no more busy
        with one_thread(), _progress(settings.episodes) as show:
            episodes = play_episodes(
                agent,
                env,
                settings.episodes,
                greedy=settings.greedy,
                seed=settings.seed,
                gaze=settings.gaze is not False,
                longest=settings.longest,
                show=show,
            )
    finally:
        env.close()
    first = episodes[0].steps[0].gaze
    if first is None and settings.gaze:
        raise ValueError(
            f"--gaze was asked and no attention over the image was found in the encoder of {settings.run}: train one "
            "that attends (--encoder non-local, criss-cross or vit), or leave it out"
        )
    full, same = strongest(episodes), shows_the_same(episodes)
    rate = float(env.metadata.get("render_fps") or RATE)
    caption = "" if first is None else caption_of(first.layer, first.asks, full, same)
    write_video(file, episodes, full=full, same=same, caption=caption, scale=settings.scale, rate=rate)
    page = write_page(
        file.with_suffix(".html"), agent, episodes, greedy=settings.greedy, caption=caption, full=full, same=same,
        rate=rate, command=_command(settings),
    )  # fmt: skip
    _table(episodes)
    print(f"wrote {file} and {page}")
    return episodes


def drawing_environment(agent: LoadedAgent) -> gymnasium.Env[Any, Any]:
    """One environment like those that the agent learned in, which draws.

    Raises:
        ValueError: it does not draw, or observes otherwise by itself than in the batch that the agent learned in.
    """
    envs = agent.make_envs(1, render_mode="rgb_array")
    assert isinstance(envs, SyncVectorEnv)  # make_envs: so that every environment draws for itself
    learned = agent.make_envs(1)
    spaces = (learned.single_observation_space, learned.single_action_space)
    learned.close()
    if (envs.single_observation_space, envs.single_action_space) != spaces:
        envs.close()
        raise ValueError(
            f"the agent learned in a batch of {agent.environment['env']} that observes {spaces[0]}, and one that draws "
            f"observes {envs.single_observation_space}: train it with --workers sync to watch it"
        )
    return envs.envs[0]


def caption_of(layer: str, asks: str, full: float, same: bool) -> str:
    """What the gaze is, in words that stand beside it."""
    where = "" if same else " It is drawn on what the policy sees, which the frame does not show as it is."
    return (
        f"Gaze: the attention that each cell gets from {asks} in {layer}, the last layer that attends (mean of its "
        f"heads). Full amber: {full:.1f} times an even share; white frame: the cell "
        f"with most, from {MARKED} times on.{where}"
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _progress(episodes: int) -> Iterator[Any]:
    """One live line on a terminal, nothing in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("the first frame", total=episodes)
        yield lambda episode, step, total: bar.update(
            task, completed=episode, description=f"episode {episode + 1} of {episodes}, step {step}, return {total:.4g}"
        )


def _table(episodes: list[Episode]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("episode", "return", "steps", "end")
    for number, one in enumerate(episodes, 1):
        table.add_row(str(number), f"{one.total:.4g}", str(len(one.steps)), one.ended)
    Console(file=sys.stdout).print(table)


def _command(settings: Play) -> str:
    words = ["sightline play", str(settings.run), f"--episodes {settings.episodes}", f"--seed {settings.seed}"]
    if not settings.greedy:
        words.append("--no-greedy")
    return " ".join(words)
