"""What the agents reach: the commands, three seeds or more each, and what came of them beside what was to be reached.

    python benchmarks/learning.py cartpole catch-vit      # some recipes; all without names
    python benchmarks/learning.py halfcheetah --seeds 0   # an hour-long one needs one seed

Every run is `sightline act` as a user types it, resumable (runs/learning/NAME/SEED); what was reached is the evaluation
at its end: 100 episodes in environments of their own. Results are kept per recipe and seed in results/learning.json,
and results/learning.md is written anew from them.
"""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"
FOLDER = Path("runs/learning")


@dataclass(frozen=True)
class Recipe:
    """One line of the table."""

    words: str  # of the command, after `sightline act`
    steps: int
    bar: float | None  # what the mean return of every seed has to reach; None: shown without a bar
    source: str  # where the bar comes from
    episodes: int = 100  # of the evaluation


VECTOR = "--epochs 10 --learning-rate 1e-3"
CATCH = "ppo --env sightline/Catch-v0 --envs 16 --rollout 32 --batch 128 --learning-rate 1e-3 --entropy-factor 0.01"
BOX_WORLD = (
    "ppo --env sightline/BoxWorldSmall-v0 "
    """--env-arguments '{"size": 4, "goal_length": [1, 2], "distractors": [0, 1]}' """
    "--centred --normalise-rewards --envs 64 --rollout 32 --batch 256 --learning-rate 3e-3 --learning-rate-end 0.1 "
    "--gamma 0.9 --gae-lambda 0.9 --gradient-clip 1 --entropy-factor 0.003 --evaluation-sampled"
)
RECALL = (
    "ppo --env sightline/Recall-v0 --envs 16 --rollout 40 --batch 160 --gamma 0.95 --learning-rate 2e-3 "
    "--evaluation-sampled"
)
SAME = "the same sizes and steps; 11.3 is the most there is"
RECIPES = {
    "cartpole": Recipe(
        f"ppo --env CartPole-v1 {VECTOR} --gamma 0.98 --gae-lambda 0.9", 100_000, 499.0, "500 is the most there is"
    ),
    "acrobot": Recipe(
        f"ppo --env Acrobot-v1 {VECTOR} --gae-lambda 0.94 --normalise-observations",
        200_000,
        -86.0,
        "-86.4 (CleanRL, 500 k), -73.5 (RL Zoo, 1 M)",
    ),
    "pendulum": Recipe(
        f"ppo --env Pendulum-v1 --rollout 256 {VECTOR} --gamma 0.9 --normalise-observations --normalise-rewards",
        200_000,
        -200.0,
        "-172 (RL Zoo, gSDE, 100 k)",
    ),
    "lunar-lander": Recipe(
        "ppo --env LunarLander-v3 --envs 16 --rollout 256 --batch 512 --epochs 10 --learning-rate 1e-3 --gamma 0.999 "
        "--gae-lambda 0.98 --entropy-factor 0.01 --normalise-observations",
        600_000,
        200.0,
        "242 (RL Zoo, 1 M); 200 is called solved",
    ),
    "dqn-cartpole": Recipe(
        "dqn --env CartPole-v1 --envs 4 --rollout 4 --updates 8 --batch 64 --n-step 5 --target-every 1 "
        "--target-share 0.005 --explores 0.2 --hidden 128 128",
        50_000,
        475.0,
        "500 is the most there is; 475 is called solved",
    ),
    "sac-pendulum": Recipe(
        "sac --env Pendulum-v1 --envs 1 --hidden 128 128 --learning-rate 1e-3 --gamma 0.97 --starts 500",
        10_000,
        -180.0,
        "-172 is what PPO reaches (RL Zoo, gSDE, 100 k)",
    ),
    "deep-dyna-pendulum": Recipe(
        "deep-dyna --env Pendulum-v1 --envs 1 --hidden 128 128 --sac.learning-rate 1e-3 --sac.gamma 0.97 "
        "--sac.starts 500 --sac.updates 10",
        3000,
        None,
        "sac-pendulum, in less than a third of its steps",
        1000,
    ),
    "sac-inverted-pendulum": Recipe(
        "sac --env InvertedPendulum-v5 --envs 1 --hidden 128 128 --learning-rate 1e-3 --starts 500",
        10_000,
        None,
        "1000 is the most there is",
    ),
    "deep-dyna-inverted-pendulum": Recipe(
        "deep-dyna --env InvertedPendulum-v5 --envs 1 --hidden 128 128 --sac.learning-rate 1e-3 --sac.starts 500 "
        "--sac.updates 10",
        3000,
        None,
        "sac-inverted-pendulum, in less than a third of its steps",
    ),
    "corridor": Recipe(
        "reinforce --env sightline/Corridor-v0 --envs 8 --gamma 1 --hidden 0 --learning-rate 0.01 --baseline value "
        "--evaluation-sampled",
        60_000,
        -12.0,
        "-11.66 is the best stochastic policy's value (Sutton & Barto, example 13.1)",
        2000,
    ),
    "catch-convolution": Recipe(f"{CATCH} --encoder convolution", 60_000, 0.95, "1 is the most there is"),
    "catch-non-local": Recipe(f"{CATCH} --encoder non-local", 60_000, 0.95, "1 is the most there is"),
    "catch-criss-cross": Recipe(f"{CATCH} --encoder criss-cross", 30_000, 0.95, "1 is the most there is"),
    "catch-vit": Recipe(f"{CATCH} --encoder vit", 30_000, 0.95, "1 is the most there is"),
    "halfcheetah": Recipe(
        "ppo --env HalfCheetah-v5 --envs 8 --rollout 256 --batch 512 --epochs 10 --learning-rate 3e-4 "
        "--normalise-observations --normalise-rewards",
        1_000_000,
        None,
        "1443 (CleanRL, v4, 1 M), 5784 (Tianshou, best of the course, 1 M)",
    ),
    "doorkey": Recipe(
        "ppo --env MiniGrid-DoorKey-5x5-v0 --envs 16 --rollout 64 --batch 256 --learning-rate 1e-3 "
        "--entropy-factor 0.01 --encoder convolution --evaluation-sampled",
        200_000,
        None,
        "0.964 (RL Zoo, 100 k)",
    ),
    "recall-memory": Recipe(f"{RECALL} --memory 32", 60_000, 0.95, "1 is the most there is", 2000),
    "recall": Recipe(RECALL, 60_000, None, "0.25 is what there is without a memory", 2000),
    "box-world-convolution": Recipe(f"{BOX_WORLD} --encoder convolution", 500_000, None, SAME),
    "box-world-non-local": Recipe(f"{BOX_WORLD} --encoder non-local", 500_000, None, SAME),
}


def run(name: str, seed: int) -> dict[str, float]:
    """Train, or go on where the run was stopped; return its evaluation."""
    out = FOLDER / name / str(seed)
    words = shlex.split(command(name, seed))[2:]
    subprocess.run([sys.executable, "-m", "sightline", "act", *words, "--resume"], check=True)
    found = json.loads((out / "evaluation.json").read_text())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept = rows[:: max(len(rows) // 20, 1)] + rows[-1:]
    curve = [[row["steps"], row["return_mean"]] for row in kept if row["return_mean"] is not None]
    return {**{key: found[key] for key in ("mean", "spread", "episodes", "steps")}, "curve": curve}


def command(name: str, seed: int) -> str:
    """As a user types it."""
    recipe = RECIPES[name]
    return (
        f"sightline act {recipe.words} --steps {recipe.steps} --seed {seed} --evaluation-episodes {recipe.episodes} "
        f"--out {FOLDER / name / str(seed)}"
    )


def reached(name: str, results: dict[str, dict[str, float]]) -> bool:
    """Whether every seed came to the bar."""
    bar = RECIPES[name].bar
    return bar is None or all(one["mean"] >= bar for one in results.values())


def table(everything: dict[str, dict[str, dict[str, float]]]) -> str:
    """The page."""
    lines = [
        "# What the agents reach",
        "",
        "The mean return of 100 evaluation episodes per seed, or as the command says; +- is the deviation over seeds.",
        "`python benchmarks/learning.py NAME` runs a recipe anew; each is the command below the table with `--seed`.",
        "",
        "| recipe | steps | seeds | return: mean +- over seeds | lowest | wanted of every seed | others |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (one for one in RECIPES if one in everything):
        recipe, results = RECIPES[name], everything[name]
        means = np.array([one["mean"] for one in results.values()])
        bar = "" if recipe.bar is None else f"{recipe.bar:g}: {'yes' if reached(name, results) else '**no**'}"
        spread = f" +- {means.std(ddof=1):.3g}" if len(means) > 1 else ""
        lines.append(
            f"| {name} | {recipe.steps} | {', '.join(results)} | {means.mean():.4g}{spread} | {means.min():.4g} | "
            f"{bar} | {recipe.source} |"
        )
    lines += ["", "```"] + [command(name, 0) for name in RECIPES if name in everything] + ["```", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(RECIPES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    asked = parser.parse_args()
    for name in asked.names:
        if name not in RECIPES:
            parser.error(f"there is no recipe {name}: they are {', '.join(RECIPES)}")
        for seed in asked.seeds:
            found = run(name, seed)
            path = RESULTS / "learning.json"
            everything = json.loads(path.read_text()) if path.exists() else {}
            everything.setdefault(name, {})[str(seed)] = found
            path.write_text(json.dumps(everything, indent=1) + "\n")
            (RESULTS / "learning.md").write_text(table(everything))


if __name__ == "__main__":
    main()
