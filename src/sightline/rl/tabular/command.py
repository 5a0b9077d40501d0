"""`sightline act q-learning` and `sightline act dyna`: a tabular agent in any discrete environment, in a run folder.

The folder is as that of every agent: `config.json`, `metrics.jsonl`, `evaluation.json`, `checkpoint/` with the table
and all else that the agent knows. A run that was stopped or killed and then resumed ends as one that never stopped, bit
for bit, wherever the environment can be saved; where it cannot, one sentence says so and a new episode begins.

Left out: several environments and processes, pages and videos.
"""

import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn
from tyro.conf import OmitArgPrefixes

from sightline.envs.serial import Serial
from sightline.envs.states import cannot_save, restore_environments, save_environments
from sightline.rl.runs.act import APART
from sightline.rl.runs.build import make_envs
from sightline.rl.runs.evaluate import Evaluation
from sightline.rl.runs.live import live
from sightline.rl.runs.loop import BEYOND
from sightline.rl.tabular.dyna import Dyna
from sightline.rl.tabular.lives import Life
from sightline.rl.tabular.q_learning import QLearning
from sightline.rl.tabular.tables import greatest
from sightline.run import (
    append_metrics,
    has_checkpoint,
    load_checkpoint,
    open_run,
    save_checkpoint,
    seed_everything,
    stop_on_interrupt,
)
from sightline.run.files import write_whole

LATEST = 100  # episodes that a row's means look back over


@dataclass(frozen=True)
class TabularRun:
    """What a tabular agent needs to know to run."""

    env: str
    """Of Gymnasium's registry (FrozenLake-v1, sightline/DynaMaze-v0); observations and actions are whole numbers."""
    out: Path
    """The run folder; it is made."""
    steps: int = 100_000
    """Environment steps."""
    env_arguments: str = ""
    """For the environment, as JSON: '{"is_slippery": false}'."""
    seed: int = 0
    """Of everything that is random."""
    resume: bool = False
    """Go on with the run that is in the folder."""
    row_every: int = 1000
    """Steps between two rows of metrics."""
    save_every: int = 50_000
    """Steps between two checkpoints."""
    evaluation_episodes: int = 100
    """Episodes with the best actions at the end; 0: none."""
    evaluation_steps: int = 1000
    """Steps after which such an episode is cut off, where the environment has no limit of its own."""
    trust: bool = False
    """Import environments from outside sightline, which runs their code."""


@dataclass(frozen=True)
class ActQLearning:
    """Settings of `sightline act q-learning`."""

    run: OmitArgPrefixes[TabularRun]
    agent: OmitArgPrefixes[QLearning] = field(default_factory=QLearning)


@dataclass(frozen=True)
class ActDyna:
    """Settings of `sightline act dyna`."""

    run: OmitArgPrefixes[TabularRun]
    agent: OmitArgPrefixes[Dyna] = field(default_factory=Dyna)


class Table(nn.Module):
    """The action values, as what a checkpoint calls weights."""

    def __init__(self, q: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("q", torch.from_numpy(q))  # the agent's own memory


def run_tabular(settings: ActQLearning | ActDyna) -> None:
    """Learn as the settings say, in their run folder.

    Raises:
        ValueError: a setting, the environment or the run in the folder does not fit.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    run, agent = settings.run, settings.agent
    for name, least in (("steps", 1), ("row_every", 1), ("save_every", 1), ("evaluation_episodes", 0),
                        ("evaluation_steps", 1)):  # fmt: skip
        if getattr(run, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {least} or more, got {getattr(run, name)}")
    seed_everything(run.seed)
    envs = _environments(run)
    life = Life(agent, envs.envs[0], run.seed)
    folder = open_run(run.out, _config(settings, life.env), resume=run.resume)
    latest: deque[list[float | int]] = deque(maxlen=LATEST)
    saved = _resume(folder, life, envs, latest)
    with stop_on_interrupt() as stop, live(run.steps) as show:
        while life.steps < run.steps and not (stop.requested and life.steps == saved):
            before, clock = life.steps, time.perf_counter()
            for _ in life.live(min(run.row_every, run.steps - before), lambda *told: latest.append(list(told))):
                pass
            row = _row(life, latest, (life.steps - before) / max(time.perf_counter() - clock, 1e-9))
            append_metrics(folder, row)
            show(row)
            if stop.requested or life.steps - saved >= run.save_every or life.steps >= run.steps:
                saved = life.steps
                _save(folder, life, envs, latest)
            if stop.requested and life.steps < run.steps:
                raise KeyboardInterrupt(
                    f"stopped after step {life.steps} of {run.steps}; the same command with --resume goes on from there"
                )
    words = f"wrote {folder}"
    if run.evaluation_episodes:
        found = evaluate(life.mind.known.q, run)
        write_whole(folder / "evaluation.json", json.dumps({"steps": life.steps, **found.summary()}, indent=1) + "\n")
        words = (
            f"return {found.mean:.4g} +- {found.spread:.3g} over {len(found.returns)} episodes with the best actions; "
            f"{words}"
        )
    print(words)


def evaluate(q: np.ndarray, run: TabularRun) -> Evaluation:
    """Episodes with the best actions, equals at random, in an environment of its own."""
    env, rng = _environments(run).envs[0], np.random.default_rng(run.seed + APART)
    returns, lengths = [], []
    for episode in range(run.evaluation_episodes):
        state, _ = env.reset(seed=run.seed + APART if episode == 0 else None)
        total, length, over = 0.0, 0, False
        while not over and length < run.evaluation_steps:
            state, reward, terminated, truncated, _ = env.step(int(greatest(q[int(state)], rng)))
            total, length, over = total + float(reward), length + 1, bool(terminated or truncated)
        returns.append(total)
        lengths.append(length)
    return Evaluation(tuple(returns), tuple(lengths))


def _environments(run: TabularRun) -> Serial:
    envs = make_envs({"workers": "sync", "stack": 1, **_environment(run)}, 1, trust=run.trust)
    assert isinstance(envs, Serial)
    return envs


def _environment(run: TabularRun) -> dict[str, str]:
    return {"env": run.env, "env_arguments": run.env_arguments}


def _config(settings: ActQLearning | ActDyna, env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """All that the run's course depends on; its steps may be raised."""
    run = settings.run
    return {
        "kind": "tabular",
        "agent": settings.agent,
        "environment": _environment(run),
        "steps": run.steps,
        "seed": run.seed,
        "observation_space": str(env.observation_space),
        "action_space": str(env.action_space),
    }


def _row(life: Life, latest: deque[list[float | int]], rate: float) -> Mapping[str, float | int]:
    known = life.mind.known
    total, length = np.mean(latest, 0).tolist() if latest else (float("nan"), float("nan"))
    return {
        "steps": int(known.counts[0]),
        "return_mean": total,
        "length_mean": length,
        "episodes": int(life.mind.place[3]) - 1,
        "states": int(known.counts[1]),
        "updates_from_memory": int(known.counts[2]),
        "steps_per_second": rate,
    }


def _save(folder: Path, life: Life, envs: Serial, latest: deque[list[float | int]]) -> None:
    mind = life.mind
    parts = {
        f"{name}.{key}": torch.from_numpy(array)
        for name, part in (("known", mind.known), ("trail", mind.trail), ("queue", mind.queue))
        for key, array in part._asdict().items()
    }
    extra = {
        "mind": {**parts, "place": torch.from_numpy(mind.place)},
        "total": life.total,
        "latest": list(latest),
        "environment": None if cannot_save(envs) else save_environments(envs),
    }
    known = int(mind.known.counts[0])
    save_checkpoint(folder, Table(mind.known.q), step=known, generators={"life": life.rng}, extra=extra)


def _resume(folder: Path, life: Life, envs: Serial, latest: deque[list[float | int]]) -> int:
    """Put everything where the last checkpoint has it; the steps that were taken."""
    if not has_checkpoint(folder):
        return 0
    mind = life.mind
    extra = load_checkpoint(folder, Table(mind.known.q), generators={"life": life.rng}).extra
    for name, part in (("known", mind.known), ("trail", mind.trail), ("queue", mind.queue)):
        for key, array in part._asdict().items():
            array[...] = extra["mind"][f"{name}.{key}"].numpy()
    mind.place[...] = extra["mind"]["place"].numpy()
    latest.extend(extra["latest"])
    life.total = extra["total"]
    steps = int(mind.known.counts[0])
    if extra["environment"] is not None:
        envs.reset(seed=life.seed)
        restore_environments(envs, extra["environment"])
        return steps
    print(f"mind: {cannot_save(envs)}; a new episode begins")
    life.begin_anew(life.seed + BEYOND + steps)
    return steps
