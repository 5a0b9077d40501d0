"""A run that was stopped or killed and then resumed equals one that never stopped, bit for bit."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from tests.rl.runs.short import course, short, state, tensors, weights

from sightline.rl.policies.settings import PolicySettings
from sightline.rl.runs import act
from sightline.rl.runs.act import run_agent
from sightline.rl.runs.loop import fit
from sightline.rl.runs.settings import Settings

PIXELS = PolicySettings(encoder="non-local", hidden=(8,))
CASES = {
    "cartpole": ("CartPole-v1", {}),
    "acrobot": ("Acrobot-v1", {}),
    "mountain car": ("MountainCar-v0", {}),
    "pendulum": ("Pendulum-v1", {"normalise_observations": True, "normalise_rewards": True}),
    "squashed": ("Pendulum-v1", {"policy": PolicySettings(hidden=(8,), squash=True)}),
    "wheel": ("Pendulum-v1", {"stack": 2}),
    "state scale": ("MountainCarContinuous-v0", {"policy": PolicySettings(hidden=(8,), scale="state")}),
    "corridor": ("sightline/Corridor-v0", {"env_arguments": "{}"}),
    "a memory": ("sightline/Recall-v0", {"policy": PolicySettings(hidden=(8,), memory=6)}),
    "catch": ("sightline/Catch-v0", {"policy": PIXELS}),
    "boxes": ("sightline/BoxWorldSmall-v0", {"policy": PolicySettings(encoder="convolution", hidden=(8,))}),
    "stacked": ("CartPole-v1", {"stack": 3}),
}


def stopped_after(monkeypatch: pytest.MonkeyPatch, settings: Settings, updates: int) -> None:
    """Run the command until so many updates are done, as after Ctrl-C."""
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count >= updates

    def stops(*args: Any, **options: Any) -> bool:
        return fit(*args, **{**options, "stop": stop})

    with monkeypatch.context() as patch:
        patch.setattr(act, "fit", stops)
        with pytest.raises(KeyboardInterrupt, match=r"stopped after step \d+ of \d+; the same command with --resume"):
            run_agent(settings)


@pytest.mark.parametrize(
    ("agent", "case"),
    [("ppo", case) for case in CASES]
    + [(agent, case) for agent in ("a2c", "reinforce") for case in ("cartpole", "pendulum", "catch", "a memory")]
    + [("sac", case) for case in ("pendulum", "wheel")]
    + [("dyna", case) for case in ("pendulum", "cartpole")]
    + [("dqn", case) for case in ("cartpole", "acrobot", "catch", "boxes", "stacked")],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: str, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    env, changes = CASES[case]
    if (agent, case) == ("reinforce", "pendulum"):
        changes = {**changes, "steps": 2000}  # an update takes 832
    if agent in ("sac", "dyna"):
        changes = {**changes, "normalise_rewards": False}
    run_agent(short(tmp_path / "whole", agent, env, **changes))
    cut = short(tmp_path / "cut", agent, env, **changes)
    stopped_after(monkeypatch, cut, 1)
    if len(course(tmp_path / "whole")) > 2:
        cut = replace(cut, run=replace(cut.run, resume=True))
        stopped_after(monkeypatch, cut, 1)
    run_agent(replace(cut, run=replace(cut.run, resume=True)))
    assert course(tmp_path / "cut") == course(tmp_path / "whole")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert state(tmp_path / "cut") == state(tmp_path / "whole")
    assert tensors(tmp_path / "cut") == tensors(tmp_path / "whole")
    assert (tmp_path / "cut/evaluation.json").read_text() == (tmp_path / "whole/evaluation.json").read_text()
    assert "mind" not in capsys.readouterr().out


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sightline", "act", "ppo", "--env", "CartPole-v1", "--steps", "12000"]
    words += ["--envs", "4", "--rollout", "32", "--batch", "64", "--save-every", "1000", "--evaluation-episodes", "4"]
    process = subprocess.Popen([*words, "--out", str(tmp_path / "cut")])
    while not (tmp_path / "cut/checkpoint/state.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(course(tmp_path / "cut")) < 12000 // 128
    for out, more in (("whole", []), ("cut", ["--resume"])):
        subprocess.run([*words, "--out", str(tmp_path / out), *more], check=True, capture_output=True)
    assert course(tmp_path / "cut") == course(tmp_path / "whole")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


class Unsavable(gymnasium.Env[np.ndarray, int]):
    """An environment whose state is a generator's, which nobody can read."""

    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.counts = (number for number in range(1, 6))
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        number = next(self.counts)
        return np.full(1, number, np.float32), float(action), number == 5, False, {}


@pytest.mark.parametrize("agent", ["ppo", "dqn"])
def test_environments_that_cannot_be_saved_are_named_and_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], agent: str
) -> None:
    settings = short(tmp_path, agent, f"{__name__}:Unsavable", trust=True)
    stopped_after(monkeypatch, settings, 2)
    run_agent(replace(settings, run=replace(settings.run, resume=True)))
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mind: "))
    assert "new episodes begin, so that the run is not bit for bit the one without a pause" in said
    assert "counts" in said
    assert 512 <= course(tmp_path)[-1]["steps"] < 530


def test_what_a_resumed_run_must_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = short(tmp_path, "ppo")
    stopped_after(monkeypatch, settings, 1)
    before = (tmp_path / "metrics.jsonl").read_bytes(), weights(tmp_path)
    again = replace(settings, run=replace(settings.run, resume=True))
    with pytest.raises(FileExistsError, match="already holds a run: resume it"):
        run_agent(settings)
    for changed, sentence in (
        (replace(again, run=replace(again.run, env="Acrobot-v1")), "environment was .*CartPole-v1.* is now .*Acrobot"),
        (replace(again, run=replace(again.run, envs=8)), "envs was 4 and is now 8"),
        (replace(again, agent=replace(again.agent, gamma=0.5)), "another config .*gamma"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run_agent(changed)
    assert ((tmp_path / "metrics.jsonl").read_bytes(), weights(tmp_path)) == before
