"""Steps of PPO per second of processor time, beside Stable-Baselines3's, whose returns are printed beside ours.

    pip install 'sightline[benchmarks]'
    python benchmarks/policy_gradients.py

Both learn the same task with the same settings in one process and take turns; one thread each, of PyTorch and of NumPy.
The clock is the process's own, and starts after a first update. What differs besides code: Stable-Baselines3 normalises
advantages in every minibatch and this over the rollout, and Pong comes from ale_py's vector environment here and from
its Atari wrappers there. The tests of PPO, of the gradient by hand and of the serial environments run first; on red
there is no table. Pong needs ale-py, licensed under the GPL, yours to install; without it that case is skipped.

Left out: wall-clock time, several threads, and how well either learns in the end (`benchmarks/learning.py`).
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from sightline.bench import machine
from sightline.envs.making import make_environments
from sightline.rl.learner import Learner
from sightline.rl.policies import PolicySettings, make_policy
from sightline.rl.ppo import PPO, train
from sightline.run.files import write_whole

ROOT = Path(__file__).parent.parent
TESTS = ["tests/rl/test_ppo.py", "tests/rl/policies/test_by_hand.py", "tests/envs/test_serial.py"]
TURNS = 5
RATE = 3e-4
PONG = "ALE/Pong-v5"


@dataclass(frozen=True)
class Case:
    """One task, how both learn it, and what is asked of ours: a module through autograd, or the built-in network."""

    env: str
    envs: int
    rollout: int
    batch: int
    epochs: int
    updates: int  # that are timed
    goals: tuple[tuple[str, float], ...]  # how ours computes, and times Stable-Baselines3's speed


CASES = (
    Case("CartPole-v1", 4, 128, 128, 4, 40, (("autograd", 2.3), ("built-in", 4.5))),
    Case("Pendulum-v1", 4, 1024, 64, 10, 2, (("built-in", 3.2),)),
    Case(PONG, 8, 128, 256, 4, 1, (("autograd", 1.5),)),
)


def ours(case: Case, way: str, seed: int) -> tuple[float, float]:
    """Steps per second, and the mean return of the last hundred episodes."""
    torch.manual_seed(seed)
    pixels = case.env == PONG
    envs = make_environments(case.env, case.envs, workers="batched" if pixels else "auto")
    network = PolicySettings(encoder="nature", hidden=(512,)) if pixels else PolicySettings()
    policy = make_policy(envs.single_observation_space, envs.single_action_space, network)
    ppo = PPO(rollout=case.rollout, batch=case.batch, epochs=case.epochs, learning_rate=RATE, learning_rate_end=1.0)
    learner = Learner(policy, envs, rollout=ppo.rollout, gamma=ppo.gamma, learning_rate=RATE, seed=seed)
    if way == "autograd":
        learner.by_hand = learner._act.by_hand = None
    elif learner.by_hand is None:
        raise RuntimeError(f"the built-in network of {case.env} goes through autograd")
    rows = train(learner, ppo, (1 + case.updates) * case.envs * case.rollout)
    row, begun, begin = next(rows), learner.steps, time.process_time()
    for row in rows:  # noqa: B007  the last one counts
        pass
    rate = (learner.steps - begun) / (time.process_time() - begin)
    envs.close()
    return rate, row["return_mean"]


def theirs(case: Case, seed: int) -> tuple[float, float]:
    """The same of Stable-Baselines3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import stable_baselines3
        from stable_baselines3.common.env_util import make_atari_env, make_vec_env
        from stable_baselines3.common.vec_env import VecFrameStack

        envs: Any
        if case.env == PONG:
            importlib.import_module("ale_py")  # registers
            envs = VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=case.envs, seed=seed), n_stack=4)
        else:
            envs = make_vec_env(case.env, n_envs=case.envs, seed=seed)
        size = case.envs * case.rollout
        model = stable_baselines3.PPO(
            "CnnPolicy" if case.env == PONG else "MlpPolicy",
            envs,
            learning_rate=RATE,
            n_steps=case.rollout,
            batch_size=case.batch,
            n_epochs=case.epochs,
            seed=seed,
            device="cpu",
        )
        model.learn(size)
        begin = time.process_time()
        model.learn(case.updates * size, reset_num_timesteps=False)
        rate = case.updates * size / (time.process_time() - begin)
    found = [episode["r"] for episode in model.ep_info_buffer or ()]
    envs.close()
    return rate, statistics.fmean(found) if found else float("nan")


def said(values: list[float], form: str) -> str:
    """Median and range; "none yet" where no episode had ended."""
    if any(math.isnan(one) for one in values):
        return "none yet"
    return f"{statistics.median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def compare(case: Case, turns: int) -> list[tuple[str, bool]]:
    """The table's lines of one case, each with whether it reaches its goal."""
    ways: dict[str, Callable[[int], tuple[float, float]]] = {"Stable-Baselines3": partial(theirs, case)}
    for way, _ in case.goals:
        ways[way] = partial(ours, case, way)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(turns):
        for name, run in ways.items():
            found[name].append(run(turn))
            print(f"{case.env} {name}: {found[name][-1][0]:.0f} steps/s", file=sys.stderr, flush=True)
    slow = [rate for rate, _ in found["Stable-Baselines3"]]
    label = f"{case.env}, {case.envs} x {case.rollout}, batch {case.batch}, {case.epochs} epochs"
    lines = []
    for name, goal in (("Stable-Baselines3", 0.0), *case.goals):
        rates, returns = [rate for rate, _ in found[name]], [one for _, one in found[name]]
        ratios = [rate / other for rate, other in zip(rates, slow, strict=True)]
        reached = statistics.median(ratios) >= goal
        asked = f"{goal} {'reached' if reached else 'MISSED'}" if goal else ""
        text = said(ratios, ".2f") if goal else "1"
        lines.append(
            (f"| {label} | {name} | {said(rates, '.0f')} | {text} | {asked} | {said(returns, '.0f')} |", reached)
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--only", nargs="+", help="environments, of those of the table; nothing is written then")
    parser.add_argument("--skip-tests", action="store_true", help="for a quick look; nothing is written")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "policy_gradients.md")
    settings = parser.parse_args()
    if importlib.util.find_spec("stable_baselines3") is None:
        sys.exit("Stable-Baselines3 is what this compares with: pip install 'sightline[benchmarks]'")
    if not settings.skip_tests and subprocess.run([sys.executable, "-m", "pytest", *TESTS], cwd=ROOT).returncode:
        sys.exit("the tests of what is timed are red: no figures")
    torch.set_num_threads(1)
    told, before = machine.provenance(), os.getloadavg()[0]
    lines, left_out = [], ""
    with threadpool_limits(1):
        for case in CASES:
            if settings.only and case.env not in settings.only:
                continue
            if case.env == PONG and any(importlib.util.find_spec(one) is None for one in ("ale_py", "cv2")):
                left_out = "Pong is left out: it needs ale-py (licensed under the GPL) and opencv-python-headless."
                continue
            lines += compare(case, settings.turns)
    page = [
        "# PPO beside Stable-Baselines3",
        "",
        f"Steps per second of process time, median [range] of {settings.turns} turns with as many seeds; ratios within "
        "a turn, then their median [range]. Returns are means of the last hundred episodes when the time was up: "
        "learning has only begun. `autograd` is any `nn.Module`; `built-in` the MLP whose gradient is written out.",
        "",
        "| case | way | steps per second | times as fast | goal | return |",
        "|---|---|---:|---:|---|---:|",
        *(line for line, _ in lines),
        "",
        *([left_out, ""] if left_out else []),
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in told.items()),
        f"- load meanwhile: {before:.1f} processes at the beginning, {os.getloadavg()[0]:.1f} at the end",
        f"- Stable-Baselines3 {version('stable_baselines3')}, Gymnasium {version('gymnasium')}",
    ]
    print("\n".join(page))
    if not settings.skip_tests and not settings.only:
        write_whole(settings.out, "\n".join(page) + "\n")
    sys.exit(not all(reached for _, reached in lines))


def version(package: str) -> str:
    return importlib.metadata.version(package)


if __name__ == "__main__":
    main()
