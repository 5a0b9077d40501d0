"""Agents with a replay as runs: their folder is loaded, played and exported as any other; what does not fit is said."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.rl.runs.short import course, short

from sightline.play.command import Play, run
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.runs.act import run_agent
from sightline.rl.runs.evaluate import evaluate
from sightline.rl.runs.export import export_agent
from sightline.rl.runs.loaded import load_agent, load_world_model
from sightline.rl.world_model import OutsideData
from sightline.run.checkpoint import load_weights

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn": ("CartPole-v1", {"normalise_observations": True}),
    "sac": ("Pendulum-v1", {"normalise_observations": True}),
    "dyna": ("Pendulum-v1", {"normalise_observations": True}),
    "dyna-choice": ("CartPole-v1", {}),
    "dqn-image": ("sightline/Catch-v0", {"policy": PolicySettings(encoder="non-local", hidden=(8,))}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_loaded_played_and_exported(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env, changes = RUNS[name]
    out = tmp_path / "run"
    settings = short(out, name.partition("-")[0], env, evaluate_every=200, **changes)
    run_agent(settings)
    said = capsys.readouterr().out
    assert f"wrote {out}" in said
    rows = course(out)
    assert [row["steps"] for row in rows][-1] >= 512
    assert any("evaluation_mean" in row for row in rows[:-1])
    agent = load_agent(out)
    assert agent.steps == rows[-1]["steps"]
    assert agent.policy.training is False
    envs = agent.make_envs(2)
    found = evaluate(agent.acting(), envs, 4, seed=settings.run.seed + 104_729)
    envs.close()
    assert len(found.returns) == 4
    weights = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    load_weights(out, agent.policy)
    for key, value in agent.policy.state_dict().items():
        assert torch.equal(value, weights[key])
    run(Play(out, episodes=1, longest=3))
    assert (out / "play.html").exists()
    if importlib.util.find_spec("onnxruntime") is not None:
        report = export_agent(out)
        assert report.outputs[0] == "action"
        assert report.difference < 1e-4


def test_the_model_of_a_run_is_loaded_and_asked(tmp_path: Path) -> None:
    run_agent(short(tmp_path / "run", "dyna", "CartPole-v1"))
    world = load_world_model(tmp_path / "run")
    start = np.zeros((4, 4), np.float32)
    step = world.step(start, np.array([0, 1, 0, 1]), np.random.default_rng(0))
    assert step.logits.shape == (4, 2)
    assert np.abs(step.state).max() < 3
    agent = load_agent(tmp_path / "run")
    with torch.no_grad():
        _, value = agent.policy.heads(agent.policy.features(torch.from_numpy(start)), torch.from_numpy(start))
    np.testing.assert_array_equal(world.root(start).value, value.numpy())
    with pytest.warns(OutsideData, match="3 of 3 predictions lie outside of the model's data"):
        world.predict(np.full((3, 4), 50.0, np.float32), np.zeros(3, np.int64))
    run_agent(short(tmp_path / "early", "dyna", "CartPole-v1", steps=64))
    with pytest.raises(ValueError, match=r"the model of the run in .* has learned nothing yet: take more steps"):
        load_world_model(tmp_path / "early")
    run_agent(short(tmp_path / "other", "dqn", "CartPole-v1"))
    with pytest.raises(ValueError, match=r"the run in .* learned no model: name one of sightline act deep-dyna"):
        load_world_model(tmp_path / "other")


@pytest.mark.parametrize(
    ("agent", "env", "changes", "says"),
    [
        ("dyna", "sightline/Catch-v0", {}, "a world model predicts observations that are one row of floats"),
        (
            "dqn",
            "Pendulum-v1",
            {},
            r"DQN values each of a few actions and the action space is Box.*: use sac for a Box",
        ),
        ("sac", "CartPole-v1", {}, r"SAC gives real numbers and the action space is Discrete\(2\): use dqn or ppo"),
        ("sac", "Pendulum-v1", {"normalise_rewards": True}, r"--normalise-rewards is for reinforce, a2c and ppo"),
        ("sac", "Pendulum-v1", {"policy": PolicySettings(memory=4)}, r"--memory is for .*, and SAC has no such choice"),
        ("dqn", "CartPole-v1", {"normalise_rewards": True}, r"--normalise-rewards is for reinforce, a2c and ppo"),
        (
            "dqn",
            "CartPole-v1",
            {"policy": PolicySettings(memory=4)},
            r"--memory is for reinforce, a2c and ppo, and DQN",
        ),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, agent: str, env: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        run_agent(short(tmp_path / "run", agent, env, **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("agent", "env", "changes", "says"),
    [
        ("dqn", "CartPole-v1", {"gradient_clip": 0.0}, r"value_loss is (nan|inf) after \d+ steps: the network has div"),
        ("sac", "Pendulum-v1", {}, r"critic_loss is (nan|inf) after \d+ steps: the network has diverged"),
    ],
)
def test_a_run_that_diverges_says_so(tmp_path: Path, agent: str, env: str, changes: dict[str, Any], says: str) -> None:
    settings = short(tmp_path / "run", agent, env)
    worse = replace(settings, agent=replace(settings.agent, learning_rate=1e30, **changes))  # type: ignore[type-var]
    with pytest.raises(ValueError, match=says):
        run_agent(worse)
    assert np.isfinite([row.get("value_loss", 0.0) for row in course(tmp_path / "run")]).all()
