"""Steps of DQN and SAC per second of processor time, beside Stable-Baselines3's with the same settings.

    pip install 'sightline[benchmarks]'
    python benchmarks/value_learning.py

Both learn the same task with the same networks, batches and numbers of updates in one process and take turns; one
thread each, of PyTorch and of NumPy. The clock is the process's own, and starts once the replay has what the first
update needs. DQN is the plain one here too, which is all that Stable-Baselines3 has. The tests of the replay and of
both agents run first; on red there is no table.

Left out: wall-clock time, several threads, and how well either learns in the end (`benchmarks/learning.py`).
"""

import argparse
import importlib.metadata
import importlib.util
import os
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from sightline.bench import machine
from sightline.envs.making import make_environments
from sightline.rl import dqn, sac
from sightline.rl.policies import PolicySettings
from sightline.rl.policies.q_network import make_q_network
from sightline.rl.policies.soft_actor_critic import make_soft_actor_critic
from sightline.run.files import write_whole

ROOT = Path(__file__).parent.parent
TESTS = ["tests/rl/test_replay.py", "tests/rl/test_dqn.py", "tests/rl/test_sac.py", "tests/rl/test_q_network.py"]
TURNS, STARTS = 5, 100


@dataclass(frozen=True)
class Case:
    """One agent and task, and how both learn it."""

    agent: str
    env: str
    hidden: tuple[int, int]
    rollout: int  # steps between two bursts of updates
    updates: int  # of a burst
    batch: int
    steps: int  # that are timed
    goal: float  # times Stable-Baselines3's speed

    def __str__(self) -> str:
        return (
            f"{self.agent}, {self.env}, {self.hidden[0]} {self.hidden[1]}, batch {self.batch}, {self.updates} updates "
            f"every {self.rollout} steps"
        )


CASES = (
    Case("DQN", "CartPole-v1", (64, 64), 4, 1, 32, 4000, 2.0),
    Case("DQN", "CartPole-v1", (256, 256), 256, 128, 64, 2048, 0.0),  # RL Zoo's; both are bound by the same products
    Case("SAC", "Pendulum-v1", (64, 64), 1, 1, 256, 400, 2.0),
    Case("SAC", "Pendulum-v1", (256, 256), 1, 1, 256, 200, 2.0),
)


def ours(case: Case, seed: int) -> float:
    """Steps per second."""
    torch.manual_seed(seed)
    envs = make_environments(case.env, 1)
    seen, acted = envs.single_observation_space, envs.single_action_space
    sizes = {"rollout": case.rollout, "updates": case.updates, "batch": case.batch, "starts": STARTS}
    until = -(-STARTS // case.rollout) * case.rollout  # the first burst is behind us then
    end = until + case.steps
    network = PolicySettings(hidden=case.hidden)
    if case.agent == "DQN":
        plain = dqn.DQN(**sizes, double=False, learning_rate=1e-4, row_every=10**9)
        learner = dqn.make_learner(make_q_network(seen, acted, network), envs, plain, seed=seed)
        rows = (row for to in (until, end) for row in dqn.train(learner, plain, to))
    else:
        soft = sac.SAC(**sizes, row_every=10**9)
        learner = sac.make_learner(make_soft_actor_critic(seen, acted, network), envs, soft, seed=seed)
        rows = (row for to in (until, end) for row in sac.train(learner, soft, to))
    next(rows)
    begun, begin = learner.steps, time.process_time()
    next(rows)
    rate = (learner.steps - begun) / (time.process_time() - begin)
    envs.close()
    return rate


def theirs(case: Case, seed: int) -> float:
    """The same of Stable-Baselines3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import stable_baselines3

        sizes = {"train_freq": case.rollout, "gradient_steps": case.updates, "batch_size": case.batch}
        more = {"learning_rate": 1e-4, "target_update_interval": 1000} if case.agent == "DQN" else {}
        model = getattr(stable_baselines3, case.agent)(
            "MlpPolicy", case.env, learning_starts=STARTS, buffer_size=100_000, device="cpu", seed=seed,
            policy_kwargs={"net_arch": list(case.hidden)}, **sizes, **more,
        )  # fmt: skip
        model.learn(max(STARTS + 1, case.rollout))
        begun, begin = model.num_timesteps, time.process_time()
        model.learn(case.steps, reset_num_timesteps=False)
        rate = (model.num_timesteps - begun) / (time.process_time() - begin)
    model.get_env().close()
    return rate


def said(values: list[float], form: str) -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def compare(case: Case, turns: int) -> tuple[str, bool]:
    """The table's line of one case, and whether it reaches its goal."""
    fast, slow = [], []
    for turn in range(turns):
        slow.append(theirs(case, turn))
        fast.append(ours(case, turn))
        print(f"{case}: {slow[-1]:.0f} and {fast[-1]:.0f} steps/s", file=sys.stderr, flush=True)
    ratios = [one / other for one, other in zip(fast, slow, strict=True)]
    reached = statistics.median(ratios) >= case.goal
    goal = f"{case.goal} {'reached' if reached else 'MISSED'}" if case.goal else "none"
    return f"| {case} | {said(slow, '.0f')} | {said(fast, '.0f')} | {said(ratios, '.2f')} | {goal} |", reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--skip-tests", action="store_true", help="for a quick look; nothing is written")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "value_learning.md")
    settings = parser.parse_args()
    if importlib.util.find_spec("stable_baselines3") is None:
        sys.exit("Stable-Baselines3 is what this compares with: pip install 'sightline[benchmarks]'")
    if not settings.skip_tests and subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT).returncode:
        sys.exit("the tests of what is timed are red: no figures")
    torch.set_num_threads(1)
    told, before = machine.provenance(), os.getloadavg()[0]
    with threadpool_limits(1):
        lines = [compare(case, settings.turns) for case in CASES]
    versions = {name: importlib.metadata.version(name) for name in ("stable_baselines3", "gymnasium")}
    page = [
        "# DQN and SAC beside Stable-Baselines3",
        "",
        f"Steps per second of process time, updates included, median [range] of {settings.turns} turns with as many "
        "seeds; ratios within a turn, then their median [range].",
        "",
        "| case | Stable-Baselines3 | sightline | times as fast | goal |",
        "|---|---:|---:|---:|---|",
        *(line for line, _ in lines),
        "",
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in told.items()),
        f"- load meanwhile: {before:.1f} processes at the beginning, {os.getloadavg()[0]:.1f} at the end",
        f"- Stable-Baselines3 {versions['stable_baselines3']}, Gymnasium {versions['gymnasium']}",
    ]
    print("\n".join(page))
    if not settings.skip_tests:
        write_whole(settings.out, "\n".join(page) + "\n")
    sys.exit(not all(reached for _, reached in lines))


if __name__ == "__main__":
    main()
