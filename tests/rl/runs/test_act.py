"""The command `sightline act`: what it writes, what it says, and its one-sentence errors."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tests.rl.runs.short import course, short, weights

from sightline.cli import main
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.ppo import PPO
from sightline.rl.runs import act
from sightline.rl.runs.act import run_agent
from sightline.rl.runs.live import Line
from sightline.rl.runs.loaded import load_agent
from sightline.run.folder import read_metrics


@pytest.mark.parametrize("agent", ["reinforce", "a2c", "ppo"])
def test_what_a_run_leaves(tmp_path: Path, agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"act {agent} --env CartPole-v1 --steps 300 --envs 2 --rollout 16 --evaluation-episodes 3 --seed 1"
    assert main([*words.split(), "--out", str(tmp_path), *(["--batch", "16"] if agent == "ppo" else [])]) == 0
    rows = read_metrics(tmp_path)
    assert rows[-1]["steps"] >= 300
    assert [row["updates"] for row in rows] == list(range(1, len(rows) + 1))
    for name in ("return_mean", "length_mean", "steps_per_second", "policy_loss", "value_loss", "entropy"):
        assert name in rows[-1]
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["episodes"] == 3 == len(evaluation["returns"])
    assert evaluation["mean"] == pytest.approx(np.mean(evaluation["returns"]))
    out = capsys.readouterr().out
    assert f"step {rows[-1]['steps']} of 300, return" in out
    assert f"over 3 episodes with the most probable actions; wrote {tmp_path}" in out
    loaded = load_agent(tmp_path)
    assert loaded.steps == rows[-1]["steps"]
    assert not loaded.policy.training


def test_a_loaded_agent_acts_as_the_run_did(tmp_path: Path) -> None:
    settings = short(tmp_path, env="Pendulum-v1", normalise_observations=True, evaluate_every=128)
    run_agent(settings)
    assert [("evaluation_mean" in row) for row in course(tmp_path)] == [False, True] * (len(course(tmp_path)) // 2)
    loaded = load_agent(tmp_path)
    assert loaded.normaliser is not None
    envs = loaded.make_envs(2)
    observation, _ = envs.reset(seed=3)
    action = loaded.acting()(observation, np.zeros((2, 1), np.float32))
    by_hand = torch.from_numpy(loaded.normaliser(observation))
    assert torch.equal(torch.from_numpy(action), loaded.policy.actor(loaded.policy.actor_body(by_hand)).detach())


def test_evaluating_on_the_way_changes_nothing_of_the_run(tmp_path: Path) -> None:
    run_agent(short(tmp_path / "without"))
    run_agent(short(tmp_path / "with", evaluate_every=100))
    assert weights(tmp_path / "with") == weights(tmp_path / "without")


class Sick(gymnasium.Env[np.ndarray, int]):
    """Gives a reward that is none in its 200th step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        reward = math.nan if self.steps == 100 and self.np_random.random() >= 0 else 1.0
        return np.zeros(1, np.float32), reward, self.steps % 10 == 0, False, {}


class Broken(Sick):
    """Falls over in its 100th step."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.steps == 99:
            raise OSError("the sensor is unplugged")
        return super().step(action)


def says(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    """What a command that fails says, in one line."""
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ("Sick", "the reward of environment 0 at step 99 is nan: correct the environment; training goes on from the"),
        ("Broken", "environment 0 failed at step 99 (OSError: the sensor is unplugged): correct the cause"),
    ],
)
def test_what_goes_wrong_in_the_middle_is_named_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], env: str, sentence: str
) -> None:
    words = ["act", "ppo", "--env", f"{__name__}:{env}", "--trust", "--out", str(tmp_path), "--steps", "1000"]
    words += ["--envs", "2", "--rollout", "16", "--batch", "16", "--save-every", "32"]
    assert sentence in says(capsys, words)
    assert load_agent(tmp_path, trust=True).steps == 192  # the last whole rollout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--env CartPol-v1", "unknown environment 'CartPol-v1': did you mean 'CartPole-v1'?"),
        ("--env CartPole-v1 --batch 100", "use --batch 128, or another --rollout"),
        ("--env CartPole-v1 --steps 0", "an agent takes 1 step or more, got --steps 0"),
        ("--env CartPole-v1 --envs 0", "0 environments cannot be shared out evenly over 1 processes: use --envs 1"),
        ("--env CartPole-v1 --env-arguments {", "--env-arguments is JSON such as"),
        ("--env CartPole-v1 --env-arguments 3", "--env-arguments is a JSON object such as"),
        ("--env CartPole-v1 --squash", "squash and scale are a Gaussian's, for actions in a Box, got Discrete(2)"),
        ("--env os:getcwd", "'os:getcwd' lies outside sightline and importing it runs its code: add --trust"),
        (
            "--env sightline/Catch-v0 --encoder convolutoin",
            "unknown encoder 'convolutoin': did you mean 'convolution'?",
        ),
        ("--env CartPole-v1 --encoder vit", "the encoder vit reads images and Box("),
        ("--env CartPole-v1 --save-every 0", "1 or more steps lie between two checkpoints"),
        ("--env CartPole-v1 --gamma 1.5", "lies in [0, 1], got 1.5"),
        ("--env CartPole-v1 --device tpu", "unknown device 'tpu'"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, sentence: str, as_users_run_it: None
) -> None:
    assert sentence in says(capsys, ["act", "ppo", *words.split(), "--out", str(tmp_path)])
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_folder_of_something_else_is_no_agent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        load_agent(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is no run of sightline act"):
        load_agent(tmp_path)


def test_a_changed_environment_is_said(tmp_path: Path) -> None:
    run_agent(short(tmp_path, steps=64))
    config = json.loads((tmp_path / "config.json").read_text())
    config["action_space"] = "Discrete(3)"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"its action space was Discrete\(3\) and is now Discrete\(2\)"):
        load_agent(tmp_path)


def test_diverging_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = PPO(rollout=16, batch=16, learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(ValueError, match="smaller learning rate"):
        run_agent(replace(short(tmp_path, policy=PolicySettings(hidden=(8,), activation="relu")), agent=agent))


def test_the_line_says_how_far_how_good_how_fast() -> None:
    now = [0.0]
    line = Line(1000, lambda: now[0])
    now[0] = 2.0
    row: dict[str, float | int] = {"steps": 100, "return_mean": math.nan, "steps_per_second": 50.0}
    assert line.words(row) == "step 100 of 1000, 50 steps a second, 18 s left"
    now[0] = 4.0
    said = line.words({"steps": 500, "return_mean": 12.345, "steps_per_second": 200.0, "evaluation_mean": 20.0})
    assert said == "step 500 of 1000, return 12.35, evaluated 20, 125 steps a second, 4 s left"
    resumed = Line(1000, lambda: now[0])
    now[0] = 5.0
    assert resumed.words({"steps": 900, "return_mean": 1.0, "steps_per_second": 100.0}).endswith("1 s left")


def test_two_processes_are_one_with_all_environments(tmp_path: Path) -> None:
    words = ["-m", "sightline", "act", "ppo", "--env", "CartPole-v1", "--steps", "768", "--envs", "4"]
    words += ["--rollout", "32", "--batch", "64", "--evaluation-episodes", "2", "--normalise-observations"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [*launch, *words, "--out", str(tmp_path / "two")]
    assert subprocess.run(two, env=environment, capture_output=True).returncode == 0
    subprocess.run([sys.executable, *words, "--out", str(tmp_path / "one")], check=True, capture_output=True)
    one, other = course(tmp_path / "one"), course(tmp_path / "two")
    assert [row["steps"] for row in one] == [row["steps"] for row in other] == [128 * n for n in range(1, 7)]
    for a, b in zip(one[:3], other[:3], strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-5, nan_ok=True)
    resumed = subprocess.run([*two, "--resume"], env=environment, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    alone = subprocess.run(
        [sys.executable, *words, "--resume", "--out", str(tmp_path / "two")], capture_output=True, text=True
    )
    assert alone.returncode == 2
    assert "was saved by 2 processes and here are 1: start as many" in alone.stderr
    assert load_agent(tmp_path / "two").steps == 768


def test_the_last_evaluation_is_played_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = []
    plain = act.evaluate
    monkeypatch.setattr(act, "evaluate", lambda *given, **options: played.append(1) or plain(*given, **options))
    run_agent(short(tmp_path, evaluate_every=256))
    assert len(played) == 2
    assert json.loads((tmp_path / "evaluation.json").read_text())["mean"] == course(tmp_path)[-1]["evaluation_mean"]
