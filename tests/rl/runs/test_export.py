"""An agent leaves: the file alone, fed with what the environment gives, acts as the policy does."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from sightline.rl.acting import Acting, to_tensors
from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.ppo import PPO
from sightline.rl.runs import export
from sightline.rl.runs.act import run_agent
from sightline.rl.runs.export import export_agent, export_policy, random_observations
from sightline.rl.runs.loaded import load_agent
from sightline.rl.runs.settings import ActPPO, Common

onnxruntime = pytest.importorskip("onnxruntime")
traced = pytest.mark.compile  # the tracer cannot trace shape checks

NUMBERS = spaces.Box(-np.inf, np.inf, (5,), np.float64)
IMAGE = spaces.Box(0, 255, (10, 6, 3), np.uint8)
MASKED = spaces.Dict({"image": IMAGE, "arm": spaces.Dict({"angles": NUMBERS}), "action_mask": spaces.MultiBinary(4)})
ACTIONS = {
    "discrete": (spaces.Discrete(4, start=-2), {}),
    "many": (spaces.MultiDiscrete([[2, 4], [3, 2]], start=[[1, 0], [0, 5]]), {}),
    "bits": (spaces.MultiBinary((2, 3)), {}),
    "free": (spaces.Box(-0.1, np.array([[0.1, np.inf]], np.float32), (1, 2), np.float32), {}),
    "state": (spaces.Box(-0.05, 0.05, (3,), np.float64), {"scale": "state"}),
    "squashed": (spaces.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32)), {"squash": True}),
    "scalar": (spaces.Box(-1, 1, (), np.float32), {}),
}
OBSERVATIONS = {
    "numbers": NUMBERS,
    "float32": spaces.Box(-1, 1, (2, 3), np.float32),
    "choice": spaces.Discrete(5, start=3),
    "choices": spaces.MultiDiscrete([3, 2]),
    "bits": spaces.MultiBinary(4),
    "image": IMAGE,
    "stacked": spaces.Box(0, 255, (4, 12, 12), np.uint8),
    "frames": spaces.Box(0, 1, (2, 10, 6, 3), np.float32),
    "tuple": spaces.Tuple((NUMBERS, spaces.Discrete(3))),
    "masked": MASKED,
}


def made(observation: spaces.Space, action: spaces.Space, **settings: object) -> Policy:
    torch.manual_seed(3)
    policy = make_policy(observation, action, PolicySettings(**settings)).eval()
    with torch.no_grad():  # decided, so that actions differ from row to row and reach the borders
        policy.actor.weight.mul_(100)
        policy.actor.bias.normal_()
        if policy.log_scale is not None:
            policy.log_scale.uniform_(-1, 1)
    return policy


def seen(space: spaces.Space) -> ObservationNormaliser:
    normaliser = ObservationNormaliser(space)
    rng = np.random.default_rng(5)
    some = random_observations(space, None, 50, rng)
    normaliser.add(some, np.ones(50, bool))
    return normaliser


def flat(observation: object) -> dict[str, np.ndarray]:
    """The names as they are documented, written out for the spaces above."""
    if isinstance(observation, tuple):
        return {f"observation.{i}": one for i, one in enumerate(observation)}
    if isinstance(observation, dict):
        return {
            "image": observation["image"],
            "arm.angles": observation["arm"]["angles"],
            "action_mask": observation["action_mask"],
        }
    return {"observation": observation}


def compare(
    policy: Policy,
    normaliser: ObservationNormaliser | None,
    space: spaces.Space,
    answer: Callable[[object], dict[str, np.ndarray]],
) -> None:
    """What is answered to observations, beside what an environment would be given and what the policy says."""
    for rows in (1, 5):
        observation = random_observations(space, normaliser, rows, np.random.default_rng(11))
        said = answer(observation)
        acting = Acting(policy, normaliser, greedy=True)
        raw = acting(observation, np.zeros((rows, 0), np.float32))
        wanted = policy.to_space(raw)
        assert said["action"].dtype == wanted.dtype == policy.fit.space.dtype
        np.testing.assert_allclose(said["action"], wanted, rtol=1e-4, atol=1e-5)
        assert all(policy.fit.space.contains(np.asarray(one)) for one in said["action"])
        within = observation if normaliser is None else normaliser(observation)
        with torch.no_grad():
            distribution, value = policy(to_tensors(within, "cpu"))
        np.testing.assert_allclose(said["value"], value.numpy(), rtol=1e-4, atol=1e-5)
        if "mean" in said:
            inner = getattr(distribution, "inner", distribution)
            np.testing.assert_allclose(said["mean"], inner.mean.numpy(), rtol=1e-4, atol=1e-5)
            scale = inner.log_scale.expand_as(inner.mean).numpy()
            np.testing.assert_allclose(said["log_scale"], scale, rtol=1e-4, atol=1e-5)
        elif isinstance(policy.fit.space, spaces.MultiBinary):
            np.testing.assert_allclose(said["logits"], distribution.logits.numpy(), rtol=1e-4, atol=1e-5)
        else:  # log-probabilities: their exponentials are those of every action by itself
            choices = getattr(distribution, "choices", distribution)
            np.testing.assert_allclose(
                np.exp(said["logits"]), choices.log_probabilities.exp().numpy(), rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize(
    ("observation", "action"),
    [(o, a) for o in OBSERVATIONS for a in ACTIONS if o != "masked" or a == "discrete"],  # its mask is of four actions
)
@pytest.mark.parametrize("normalised", [False, True])
def test_what_leaves_is_the_policy(observation: str, action: str, normalised: bool) -> None:
    """Every kind of observation and action, before the translation."""
    space, (actions, settings) = OBSERVATIONS[observation], ACTIONS[action]
    policy, normaliser = made(space, actions, **settings), seen(space) if normalised else None
    deployed = export.Deployed(policy, normaliser)

    def answer(given: object) -> dict[str, np.ndarray]:
        with torch.no_grad():
            parts = deployed(to_tensors(given, "cpu"))
        return {name: part.numpy() for name, part in zip(deployed.names(), parts, strict=True)}

    assert deployed.names(), "something leaves"
    compare(policy, normaliser, space, answer)


PAIRS = {  # observation, action, more settings, normalised
    "tuple-many": ("tuple", "many", {}, True),
    "stacked-bits": ("stacked", "bits", {}, False),
    "numbers-state": ("numbers", "state", {}, True),
    "image-squashed": ("image", "squashed", {"encoder": "vit", "pool": "summary"}, False),
    "frames-scalar": ("frames", "scalar", {"encoder": "criss-cross", "hidden": (8,)}, False),
}


@traced
@pytest.mark.parametrize("name", PAIRS)
def test_the_file_alone_acts_as_the_policy(name: str, tmp_path: Path) -> None:
    observation, action, more, normalised = PAIRS[name]
    space, (actions, settings) = OBSERVATIONS[observation], ACTIONS[action]
    policy, normaliser = made(space, actions, **settings, **more), seen(space) if normalised else None
    report = export_policy(policy, normaliser, space, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(report.file)
    assert all(not isinstance(one.shape[0], int) for one in session.get_inputs())  # any number of rows
    names = [one.name for one in session.get_outputs()]
    assert tuple(names) == report.outputs
    compare(policy, normaliser, space, lambda given: dict(zip(names, session.run(None, flat(given)), strict=True)))


@traced
@pytest.mark.parametrize("settings", [{}, {"shared": True}], ids=["two memories", "one memory"])
def test_a_memory_goes_in_and_comes_out(settings: dict[str, bool], tmp_path: Path) -> None:
    """An episode through the file, what it remembers handed on, is the acting policy's."""
    policy, normaliser = made(NUMBERS, spaces.Discrete(4), memory=6, **settings), seen(NUMBERS)
    session = onnxruntime.InferenceSession(export_policy(policy, normaliser, NUMBERS, tmp_path / "policy.onnx").file)
    assert [one.name for one in session.get_inputs()] == ["observation", "memory"]
    acting, rng = Acting(policy, normaliser, greedy=True), np.random.default_rng(2)
    memory = np.zeros((7, len(policy.memories), 6), np.float32)
    for step in range(6):
        observation = random_observations(NUMBERS, normaliser, 7, rng)
        if step == 3:  # some episodes begin anew
            begins = np.array([True, False] * 3 + [True])
            memory = np.where(begins[:, None, None], 0, memory)
            assert acting.begin is not None
            acting.begin(begins)
        action, _, _, memory = session.run(None, {"observation": observation, "memory": memory})
        np.testing.assert_array_equal(action, acting(observation, np.zeros((7, 4), np.float32)))
    both = spaces.Dict(memory=spaces.Box(0, 1, (2,), np.float32))
    with pytest.raises(ValueError, match=r"a part of the observation is called 'memory' .*: rename it"):
        export_policy(made(both, spaces.Discrete(2), memory=3), None, both, tmp_path / "other.onnx")


@traced
def test_an_action_that_the_mask_forbids_is_never_taken(tmp_path: Path) -> None:
    policy = made(MASKED, spaces.Discrete(4))
    file = export_policy(policy, None, MASKED, tmp_path / "policy.onnx").file
    observation = random_observations(MASKED, None, 40, np.random.default_rng(2))
    observation["action_mask"][:10] = [0, 1, 0, 0]
    action, logits, _ = onnxruntime.InferenceSession(file).run(None, flat(observation))
    assert (action[:10] == 1).all()
    assert np.isneginf(logits[:10][:, [0, 2, 3]]).all()
    some = observation["action_mask"].any(1)
    assert (observation["action_mask"][np.arange(40), action] == 1)[some].all()


@traced
def test_a_file_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = made(NUMBERS, spaces.Discrete(4))
    kept = export.Deployed.forward

    def changed(self: export.Deployed, observation: object) -> tuple[torch.Tensor, ...]:
        action, logits, value = kept(self, observation)
        return action, logits, value if torch.compiler.is_exporting() else value * 1.01

    monkeypatch.setattr(export.Deployed, "forward", changed)
    with pytest.raises(ValueError, match=r"value of the file differs from the policy's by 9\.9e-03 .* nothing was"):
        export_policy(policy, None, NUMBERS, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


@traced
def test_a_run_leaves_with_its_normalisation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Common(
        env="CartPole-v1", out=tmp_path / "run", steps=256, envs=2, evaluation_episodes=0, normalise_observations=True
    )
    run_agent(ActPPO(run, PPO(rollout=64, batch=64, epochs=1)))
    capsys.readouterr()
    report = export_agent(tmp_path / "run")
    assert report.file == tmp_path / "run" / "policy.onnx"
    assert capsys.readouterr().out == f"{report}\n"
    agent = load_agent(tmp_path / "run")
    assert agent.normaliser is not None
    session = onnxruntime.InferenceSession(report.file)

    def answer(given: object) -> dict[str, np.ndarray]:
        return dict(zip(report.outputs, session.run(None, {"observation": given}), strict=True))

    compare(agent.policy, agent.normaliser, spaces.Box(-2, 2, (4,), np.float32), answer)
    told = session.get_modelmeta().custom_metadata_map
    assert told["environment"] == "CartPole-v1"
    assert told["steps"] == "256"
    assert told["action"] == "Discrete(2)"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["normalise_observations"] is True
