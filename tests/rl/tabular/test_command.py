"""The command: a folder with everything, and a stopped or killed run that ends as one that never stopped."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline import cli
from sightline.rl.tabular import command
from sightline.rl.tabular.command import ActDyna, ActQLearning, TabularRun, run_tabular
from sightline.rl.tabular.dyna import Dyna
from sightline.rl.tabular.lives import Life
from sightline.rl.tabular.q_learning import QLearning
from sightline.run.checkpoint import read_state
from sightline.run.folder import read_metrics

CASES: dict[str, tuple[str, Any]] = {
    "q-learning": ("FrozenLake-v1", QLearning(epsilon=0.5)),
    "sarsa of three steps": ("CliffWalking-v1", QLearning(method="sarsa", n=3)),
    "dyna": ("Taxi-v4", Dyna(n=3)),
    "curious, walls that move": ("sightline/BlockingMaze-v0", Dyna("plus", n=3)),
    "sweeping": ("sightline/DynaMaze-v0", Dyna("sweeping", n=3)),
}


def settings(out: Path, case: str, steps: int = 1500, **changes: Any) -> ActQLearning | ActDyna:
    env, agent = CASES[case]
    given = {"row_every": 100, "save_every": 300, "evaluation_episodes": 5, "evaluation_steps": 50, **changes}
    run = TabularRun(env=env, out=out, steps=steps, seed=3, **given)
    return ActQLearning(run, agent) if isinstance(agent, QLearning) else ActDyna(run, agent)


def kept(folder: Path) -> tuple[Any, ...]:
    rows = [{k: v for k, v in row.items() if k != "steps_per_second"} for row in read_metrics(folder)]
    tensors = (folder / "checkpoint" / "state.safetensors").read_bytes()
    state = read_state(folder)
    return rows, (folder / "evaluation.json").read_text(), tensors, state["step"], state["generators"]


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_stopped_is_the_one_that_was_not(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_tabular(settings(tmp_path / "whole", case))
    rows = 0

    def stopping(folder: Any, row: Any) -> None:
        nonlocal rows
        rows += 1
        if rows == 7:
            signal.raise_signal(signal.SIGINT)
        append(folder, row)

    append = command.append_metrics
    with monkeypatch.context() as patch:
        patch.setattr(command, "append_metrics", stopping)
        with pytest.raises(KeyboardInterrupt, match="stopped after step 700 of 1500; the same command with --resume"):
            run_tabular(settings(tmp_path / "cut", case))
    run_tabular(settings(tmp_path / "cut", case, resume=True))
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")
    assert "mind" not in capsys.readouterr().out
    assert len(read_metrics(tmp_path / "whole")) == 15


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sightline", "act", "dyna", "--env", "Taxi-v4", "--steps", "30000"]
    words += ["--save-every", "1000", "--evaluation-episodes", "4", "--out"]
    process = subprocess.Popen([*words, str(tmp_path / "cut")])
    while not (tmp_path / "cut/checkpoint/state.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(read_metrics(tmp_path / "cut")) < 30
    for out, more in (("whole", []), ("cut", ["--resume"])):
        subprocess.run([*words, str(tmp_path / out), *more], check=True, capture_output=True)
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")


def test_it_solves_the_lake_that_is_not_slippery(tmp_path: Path) -> None:
    words = ["act", "q-learning", "--env", "FrozenLake-v1", "--env-arguments", '{"is_slippery": false}', "--steps"]
    assert cli.main([*words, "20000", "--epsilon", "0.5", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["mean"] == 1
    assert found["length_mean"] == 6
    assert found["episodes"] == 100
    assert json.loads((tmp_path / "config.json").read_text())["agent"]["arguments"]["epsilon"] == 0.5


def test_an_environment_that_cannot_be_saved_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "cannot_save", lambda envs: "Lake cannot be saved: its water flows")
    run_tabular(settings(tmp_path, "q-learning", 900))
    run = settings(tmp_path, "q-learning", 900, resume=True)
    run_tabular(run)
    assert "mind: Lake cannot be saved: its water flows; a new episode begins" in capsys.readouterr().out
    assert len(read_metrics(tmp_path)) == 9, "nothing was left to do"


def test_an_episode_that_is_left_is_not_learned_from() -> None:
    life = Life(QLearning(n=5), command._environments(settings(Path("."), "dyna").run).envs[0], 0)
    assert len(list(life.live(3))) == 3
    before = life.mind.known.q.copy()
    life.begin_anew(1)
    assert life.mind.trail.length[0] == 0
    assert life.mind.place[2] == 0
    assert life.total == 0
    np.testing.assert_array_equal(life.mind.known.q, before)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--env", "CartPole-v1"], "a table needs observations that are whole numbers from 0"),
        (["--env", "Nothing-v0"], "Nothing-v0"),
        (["--env", "FrozenLake-v1", "--steps", "0"], "--steps is 1 or more, got 0"),
        (["--env", "FrozenLake-v1", "--row-every", "0"], "--row-every is 1 or more, got 0"),
        (["--env", "FrozenLake-v1", "--alpha", "2"], "alpha, the rate, lies in (0, 1], got 2"),
        (["--env", "os:getcwd"], "'os:getcwd' lies outside sightline and importing it runs its code"),
        (["--env", "FrozenLake-v1", "--env-arguments", "{"], "--env-arguments is JSON"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["act", "q-learning", *words, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_another_run_in_the_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["act", "dyna", "--env", "sightline/DynaMaze-v0", "--steps", "200", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    assert cli.main(words) == 2
    assert cli.main([*words, "--resume", "--n", "7"]) == 2
    for other in ("play", "export"):
        assert cli.main([other, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("is the run of a table, which has no network to watch or export") == 2
    assert "--resume" in said
    assert "agent" in said
