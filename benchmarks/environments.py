"""Frames out of our environments per second of one process, beside Gymnasium's vector of the same ones, stepped singly.

    python benchmarks/environments.py

Random actions, drawn before; process time, one thread; the ways take turns, NEXT_STEP autoreset. A frame is one
environment's observation, rows of resets included. The tests of the environments run first; on red there is no table.

Left out: several processes, and what an agent does with the frames.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

import sightline.envs  # noqa: F401  registers
from sightline.bench import machine
from sightline.bench.measure import Spread, spread
from sightline.run.files import write_whole

ROOT = Path(__file__).parent.parent
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Catch", {}),
    ("Catch", {"scale": 8, "channels": 3}),
    ("Corridor", {}),
    ("BoxWorldSmall", {}),
    ("BoxWorld", {}),
)
GOAL = 0.3  # million frames per second of 64 Catch environments


def stepper(name: str, options: dict[str, Any], b: int, mode: str, steps: int) -> Callable[[], float]:
    """Million frames per second of process time, measured anew at every call."""
    env = gymnasium.make_vec(f"sightline/{name}-v0", b, mode, **options)
    env.reset(seed=0)
    count = env.single_action_space.n  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(count, size=(steps, b))

    def measure() -> float:
        begin = time.process_time()
        for action in actions:
            env.step(action)
        return steps * b / (time.process_time() - begin) / 1e6

    measure()
    return measure


def rates(name: str, options: dict[str, Any], b: int, steps: int, repeats: int) -> tuple[Spread, Spread]:
    """Ours and Gymnasium's, in turns."""
    ours = stepper(name, options, b, "vector_entry_point", steps)
    singly = stepper(name, options, b, "sync", max(1, steps // 10))
    both = [(ours(), singly()) for _ in range(repeats)]
    return spread([one for one, _ in both]), spread([other for _, other in both])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--b", type=int, nargs="+", default=[8, 64, 512], help="environments in a batch")
    parser.add_argument("--steps", type=int, default=500, help="steps of the batch that are timed together")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--skip-tests", action="store_true", help="for a quick look; nothing is written")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "environments.md")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    command = [sys.executable, "-m", "pytest", "tests/envs"]
    if not settings.skip_tests and subprocess.run(command, cwd=ROOT).returncode:
        sys.exit("the tests of the environments are red: no figures")
    told = machine.provenance()
    lines, reached = [], True
    for name, options in CASES:
        label = ", ".join([name, *(f"{key} {value}" for key, value in options.items())])
        for b in settings.b:
            ours, singly = rates(name, options, b, settings.steps, settings.repeats)
            lines.append(
                f"| {label} | {b} | {ours.median:.3f} [{ours.low:.3f}, {ours.high:.3f}] | {singly.median:.4f} | "
                f"{ours.median / singly.median:.1f} |"
            )
            if (name, options, b) == ("Catch", {}, 64):
                reached = ours.median >= GOAL
    page = [
        "# Frames per second of our environments",
        "",
        f"Million frames per second of process time, {settings.repeats} blocks of {settings.steps} steps, median and "
        f"quartiles. The goal, {GOAL} for 64 Catch environments, is {'reached' if reached else 'MISSED'}.",
        "",
        "| environment | batch | batched [quartiles] | Gymnasium's SyncVectorEnv | ratio |",
        "|---|---:|---:|---:|---:|",
        *lines,
        "",
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in told.items()),
    ]
    print("\n".join(page))
    if not settings.skip_tests:
        write_whole(settings.out, "\n".join(page) + "\n")
    sys.exit(not reached)


if __name__ == "__main__":
    main()
