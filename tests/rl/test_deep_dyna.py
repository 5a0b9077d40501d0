"""Where deep Dyna's batches come from: what was lived through, and what the model says would follow."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.rl.resuming import assert_goes_on

from sightline.envs.making import make_environments
from sightline.planning.cross_entropy import plan
from sightline.planning.model import Step
from sightline.planning.search import search
from sightline.rl.deep_dyna import DeepDyna, Imagination, agent_of, ending_of, make_learner, train, worth
from sightline.rl.dqn import DQN
from sightline.rl.off_policy import OffPolicy
from sightline.rl.policies import PolicySettings
from sightline.rl.policies.q_network import make_q_network
from sightline.rl.policies.soft_actor_critic import make_soft_actor_critic
from sightline.rl.sac import SAC
from sightline.rl.world_model import WorldModelSettings

WORLD = WorldModelSettings(members=3, elites=2, hidden=(12, 12), passes=4, batch=32)
SMALL = DeepDyna(
    model_every=60,
    world=WORLD,
    sac=SAC(rollout=4, updates=2, batch=20, capacity=400, starts=40, gamma=0.9, row_every=40),
    dqn=DQN(rollout=4, updates=2, batch=20, capacity=400, starts=40, gamma=0.9, row_every=40),
)


def learner_for(env: str = "Pendulum-v1", dyna: DeepDyna = SMALL, *, normalise: bool = False) -> OffPolicy:
    torch.manual_seed(0)
    envs = make_environments(env, 2)
    seen, acted = envs.single_observation_space, envs.single_action_space
    settings = PolicySettings(hidden=(8, 6))
    make: Any = make_q_network if env == "CartPole-v1" else make_soft_actor_critic
    return make_learner(make(seen, acted, settings), envs, dyna, seed=3, normalise_observations=normalise)


def experienced(env: str = "Pendulum-v1", dyna: DeepDyna = SMALL, **options: Any) -> tuple[OffPolicy, Imagination]:
    """A learner that has lived for a while, whose model knows a little."""
    learner = learner_for(env, dyna, **options)
    for _ in range(15):
        learner.collect()
    imagination = learner.beside["imagination"]
    imagination.learn()
    return learner, imagination


class Counting:
    """A model that counts: every number of the observation grows by 1, and some rows end."""

    gamma = 0.5

    def __init__(self, ends: float = 0.0) -> None:
        self.ends, self.asked = ends, []

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        self.asked.append(action)
        over = rng.random(len(state)) < self.ends
        discount = np.where(over, np.float32(0), np.float32(self.gamma))
        reward = state[:, 0].astype(np.float32)
        none = np.zeros(len(state), np.float32)
        return Step((state + 1).astype(state.dtype), reward, discount, none[:, None], none)


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize(("horizon", "real"), [(1, 0.1), (3, 0.25), (4, 0.0)])
def test_a_batch_is_so_much_real_and_the_rest_dreamed_in_branches(env: str, horizon: int, real: float) -> None:
    learner, imagination = experienced(env, replace(SMALL, horizon=horizon, real=real))
    imagination.world = model = Counting()  # type: ignore[assignment]
    batch, everything = imagination.sample(20), learner.replay.everything()
    lived = round(20 * real)
    assert len(batch.reward) == 20
    assert (batch.index[:lived] >= 0).all()
    assert (batch.index[lived:] == -1).all()
    rows = {row.tobytes(): i for i, row in enumerate(everything.observation)}
    for i in range(lived):
        there = rows[batch.observation[i].tobytes()]
        np.testing.assert_array_equal(batch.next_observation[i], everything.next_observation[there])
        np.testing.assert_array_equal(batch.action[i], everything.action[there])
        assert batch.reward[i] == everything.reward[there]
        assert batch.discount[i] == everything.discount[there] * np.float32(0.5)
    np.testing.assert_array_equal(batch.next_observation[lived:], batch.observation[lived:] + 1)
    np.testing.assert_array_equal(batch.reward[lived:], batch.observation[lived:, 0].astype(np.float32))
    branches = -(-(20 - lived) // horizon)
    assert len(model.asked) == horizon
    assert all(row.tobytes() in rows for row in batch.observation[lived : lived + branches]), (
        "branches begin in the real"
    )
    for i in range(lived + branches, 20):
        np.testing.assert_array_equal(batch.observation[i], batch.next_observation[i - branches])


def test_branches_that_ended_go_no_further() -> None:
    _, imagination = experienced(dyna=replace(SMALL, horizon=4, real=0.0))
    imagination.world = Counting(ends=0.6)  # type: ignore[assignment]
    steps = list(imagination.dream(np.zeros((50, 3), np.float32)))
    for before, after in itertools.pairwise(steps):
        assert len(after.reward) == (before.discount > 0).sum() > 0
    assert len(imagination.sample(40).reward) == 40, "what is missing is repeated"
    imagination.world = Counting(ends=1.0)  # type: ignore[assignment]
    assert len(list(imagination.dream(np.zeros((5, 3), np.float32)))) == 1


def test_dreams_act_as_the_policy_does_and_the_model_gets_actions_of_the_space() -> None:
    learner, imagination = experienced()
    imagination.world = model = Counting()  # type: ignore[assignment]
    (step,) = imagination.dream(np.zeros((4000, 3), np.float32))
    np.testing.assert_allclose(model.asked[0], 2 * np.tanh(step.action), atol=1e-6)
    with torch.no_grad():
        distribution = learner.policy.unit(torch.zeros(1, 3))  # type: ignore[union-attr]
    mean, scale = float(distribution.inner.mean), float(distribution.inner.log_scale.exp())
    assert step.action.mean() == pytest.approx(mean, abs=5 * scale / 4000**0.5)
    assert step.action.std() == pytest.approx(scale, rel=0.1)


def test_what_is_learned_from_is_normalised_and_what_the_model_sees_is_not() -> None:
    learner, imagination = experienced(normalise=True)
    seen: list[np.ndarray] = []
    dream = imagination.dream

    def noted(observation: np.ndarray) -> Iterator[Any]:
        seen.append(observation)
        return dream(observation)

    imagination.dream = noted  # type: ignore[method-assign]
    batch = imagination.sample(20)
    rows = {row.tobytes() for row in learner.replay.everything().observation}
    assert all(row.tobytes() in rows for row in seen[0])
    assert learner.normaliser is not None
    np.testing.assert_array_equal(batch.observation[2:], learner.normaliser(seen[0]))


def test_the_model_learns_from_all_that_was_lived_through_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, told = learner_for("CartPole-v1"), []
    imagination = learner.beside["imagination"]
    fit = imagination.world.fit

    def noted(*columns: np.ndarray, **options: Any) -> Any:
        told.append((learner.steps, columns, options["place"]))
        return fit(*columns, **options)

    monkeypatch.setattr(imagination.world, "fit", noted)
    rows = list(train(learner, SMALL, 200))
    assert [steps for steps, _, _ in told] == [40, 104, 168], "60 steps apart, in rollouts of 8"
    _, (observation, action, reward, terminated, after), place = told[-1]
    everything = learner.replay.everything()
    n = len(reward)
    np.testing.assert_array_equal(observation, everything.observation[np.isin(everything.index, place)])
    np.testing.assert_array_equal(after, everything.next_observation[np.isin(everything.index, place)])
    fell = (np.abs(after[:, 2]) > 12 * np.pi / 180) | (np.abs(after[:, 0]) > 2.4)
    np.testing.assert_array_equal(terminated, fell)
    assert terminated.sum() > 3
    assert action.shape == (n,)
    assert 0 < rows[-1]["model_error"] < 2
    assert 0 <= rows[-1]["outside"] <= 1


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_learner_that_was_saved_goes_on_as_one_that_never_stopped(env: str, normalise: bool) -> None:
    def update(learner: OffPolicy) -> Any:
        rows = list(train(learner, SMALL, learner.steps + 96))
        return repr([{k: v for k, v in row.items() if k != "steps_per_second"} for row in rows])

    assert_goes_on(lambda: learner_for(env, normalise=normalise), update)


def test_a_search_can_begin_with_what_the_policy_knows() -> None:
    learner, imagination = experienced("CartPole-v1")
    observation = learner.replay.everything().observation[:5]
    assert (imagination.world.root(observation).value == 0).all(), "dreams need no values"
    imagination.world.evaluate = worth(learner.policy, learner.normaliser)  # type: ignore[arg-type]
    root = imagination.world.root(observation)
    with torch.no_grad():
        values = learner.policy.values(torch.from_numpy(observation))  # type: ignore[union-attr]
    np.testing.assert_allclose(root.value, values.max(1).values.numpy(), rtol=1e-6)
    assert root.logits.shape == (5, 2)
    learner, imagination = experienced()
    logits, value = worth(learner.policy, None)(np.zeros((3, 3), np.float32))  # type: ignore[arg-type]
    assert logits.shape == (3, 0)
    assert value.shape == (3,)


def test_the_learned_model_is_searched_as_it_is() -> None:
    learner, imagination = experienced("CartPole-v1")
    world = imagination.world
    world.evaluate = worth(learner.policy, learner.normaliser)  # type: ignore[arg-type]
    observation = learner.replay.everything().observation[:3]
    found = search(world, world.root(observation), rng=0, simulations=20)
    assert found.visits.sum(1).tolist() == [20] * 3
    assert np.isfinite(found.value).all()
    assert set(found.action.tolist()) <= {0, 1}
    box = experienced()[1].world
    ahead = plan(box, np.zeros((1, 3), np.float32), np.float32([-2]), np.float32([2]), np.random.default_rng(0))
    assert ahead.shape == (15, 1)
    assert np.abs(ahead).max() <= 2


def test_how_endings_are_named() -> None:
    assert ending_of("learned") is None
    never = ending_of("never")
    assert never is not None
    assert not never(np.zeros((3, 2)), np.zeros(3), np.zeros((3, 2))).any()
    assert ending_of("numpy:isnan", trust=True) is np.isnan
    with pytest.raises(
        ValueError, match=r"--world\.ending is learned, never or package\.module:function, got 'sometimes'"
    ):
        ending_of("sometimes")
    with pytest.raises(ValueError, match="lies outside sightline and importing it runs its code"):
        ending_of("numpy:isnan")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"horizon": 0}, "deep Dyna's horizon is 1 or more, got 0: 1 is the default"),
        ({"model_every": 0}, "deep Dyna's model_every is 1 or more, got 0: 250 is the default"),
        ({"real": 1.0}, r"a share of every batch in \[0, 1\) is real, got 1.0: 0.1 is the default"),
        ({"dqn": DQN(n_step=3)}, "imagined steps have no n-step returns and no priorities"),
        ({"dqn": DQN(prioritised=True)}, "imagined steps have no n-step returns and no priorities"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learner_for(dyna=replace(SMALL, **changes))


def test_whose_batches_are_imagined() -> None:
    assert agent_of(SMALL, learner_for().envs.single_action_space) is SMALL.sac
    assert agent_of(SMALL, learner_for("CartPole-v1").envs.single_action_space) is SMALL.dqn


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_pendulum_stands_after_eight_episodes(seed: int) -> None:
    from sightline.rl.acting import Acting
    from sightline.rl.runs.evaluate import evaluate

    torch.manual_seed(seed)
    envs = make_environments("Pendulum-v1", 1)
    network = make_soft_actor_critic(
        envs.single_observation_space, envs.single_action_space, PolicySettings(hidden=(64, 64))
    )
    dyna = DeepDyna(sac=SAC(updates=10, starts=400, learning_rate=1e-3, gamma=0.97))
    learner = make_learner(network, envs, dyna, seed=seed)
    for _ in train(learner, dyna, 1600):
        pass
    found = evaluate(Acting(learner.policy, greedy=True), make_environments("Pendulum-v1", 10), 100, seed=1000 + seed)
    assert found.mean > -250  # SAC alone is near -1000 there; the best is -140 or so
