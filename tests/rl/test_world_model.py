"""The world model against a world that is known, and against what its own networks say by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from sightline.planning.model import Model
from sightline.rl.world_model import OUTSIDE, OutsideData, WorldModel, WorldModelSettings
from sightline.run.states import decode, encode

SMALL = WorldModelSettings(members=4, elites=3, hidden=(24, 24), learning_rate=5e-3, batch=64, passes=40)
SEEN, PUSH, CHOICE = spaces.Box(-4, 4, (2,), np.float64), spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(3)


def lived(n: int = 800, seed: int = 0, discrete: bool = False) -> dict[str, Any]:
    """A cart on a line: the action is its force, it ends beyond 1.5, and the reward is its speed."""
    rng = np.random.default_rng(seed)
    observation = rng.uniform(-2, 2, (n, 2))
    action = rng.integers(3, size=n) if discrete else rng.uniform(-1, 1, (n, 1)).astype(np.float32)
    force = action - 1.0 if discrete else action[:, 0]
    speed = observation[:, 1] + 0.3 * force + 0.05 * rng.standard_normal(n)
    after = np.stack([observation[:, 0] + 0.2 * speed, speed], 1)
    return {
        "observation": observation, "action": action, "reward": speed, "terminated": after[:, 0] > 1.5,
        "next_observation": after,
    }  # fmt: skip


@pytest.fixture(scope="module")
def cart() -> WorldModel:
    torch.manual_seed(0)
    model = WorldModel(SEEN, PUSH, SMALL, gamma=0.9)
    model.fit(**lived(), rng=np.random.default_rng(0))
    return model


def test_it_is_a_model_as_planning_has_them(cart: WorldModel) -> None:
    assert isinstance(cart, Model)
    root = cart.root(lived(5)["observation"])
    np.testing.assert_array_equal(root.state, lived(5)["observation"])
    assert root.logits.shape == (5, 0)
    np.testing.assert_array_equal(root.reward, np.zeros(5))
    assert cart.propose(root.state, 7, np.random.default_rng(0)).shape == (5, 7, 1)
    told = WorldModel(SEEN, CHOICE, SMALL, evaluate=lambda seen: (np.ones((len(seen), 3), np.float32), seen[:, 0]))
    assert told.num_actions == 3
    root = told.root(lived(5)["observation"])
    np.testing.assert_array_equal(root.logits, np.ones((5, 3)))
    np.testing.assert_array_equal(root.value, lived(5)["observation"][:, 0])


def test_predictions_are_the_worlds(cart: WorldModel) -> None:
    test = lived(500, seed=1)
    found = cart.predict(test["observation"], test["action"])
    error = found.observation - test["next_observation"]
    assert np.abs(error).mean(0) == pytest.approx([0.015, 0.05], rel=0.7)  # the noise alone is 0.008 and 0.04
    assert np.abs(found.reward - test["reward"]).mean() < 0.07
    assert ((found.ending > 0.5) == test["terminated"]).mean() > 0.95
    within = np.abs(error) < 2 * found.spread
    assert (within.mean(0) > 0.85).all(), "the spread tells how far it is off"


def test_steps_are_drawn_from_what_is_predicted(cart: WorldModel) -> None:
    n = 20_000
    one = lived(1, seed=2)
    rng = np.random.default_rng(0)
    state, action = (np.repeat(one[name], n, 0) for name in ("observation", "action"))
    step = cart.step(state, action, rng)
    told = cart.predict(one["observation"], one["action"])
    se = told.spread[0] / np.sqrt(n)
    np.testing.assert_allclose(step.state.mean(0), told.observation[0], atol=5 * se.max())
    np.testing.assert_allclose(step.state.std(0), told.spread[0], rtol=0.05)
    assert (step.discount == 0).mean() == pytest.approx(float(told.ending[0]), abs=0.02)
    assert set(np.unique(step.discount)) <= {np.float32(0), np.float32(0.9)}


def test_chances_that_are_even_come_out_even(cart: WorldModel) -> None:
    torch.manual_seed(0)
    model = WorldModel(SEEN, PUSH, SMALL, gamma=0.9)
    model.load_state_dict(cart.state_dict())
    with torch.no_grad():
        model.ends.weights[-1].zero_()
        model.ends.biases[-1].fill_(np.log(3.0))  # three to one that it ends
    some = lived(4000)
    step = model.step(some["observation"], some["action"], np.random.default_rng(0))
    assert (step.discount == 0).mean() == pytest.approx(0.75, abs=0.03)


def test_every_row_is_one_elites_and_the_others_are_never_asked(cart: WorldModel) -> None:
    model = WorldModel(SEEN, PUSH, SMALL)
    model.load_state_dict(cart.state_dict())
    some, seen = lived(301), set()
    with torch.no_grad():
        model.network.lowest.fill_(-40.0)
        model.network.highest.fill_(-39.0)  # hardly any noise
        for m in range(4):
            bias = float("nan") if m not in model.elites else 0.0
            model.network.ensemble.weights[-1][m] = 0.0
            model.network.ensemble.biases[-1][m] = bias
            model.network.ensemble.biases[-1][m, 0, 2] += m  # the reward tells who it was
            model.ends.biases[-1][m] += 0.0 if m in model.end_elites else float("nan")
    step = model.step(some["observation"], some["action"], np.random.default_rng(0))
    who = np.round((step.reward - model._output[0, 2]) / model._output[1, 2]).astype(int)
    seen, count = np.unique(who, return_counts=True)
    assert set(seen) == set(model.elites)
    assert (count > 80).all()
    together = {int(model.step(some["observation"][:1], some["action"][:1], np.random.default_rng(i)).reward[0] * 1000)
                for i in range(40)}  # fmt: skip
    assert len(together) == 3, "one row alone is any elite's"


def test_an_ending_that_is_given_and_a_choice() -> None:
    torch.manual_seed(0)

    def ending(before: np.ndarray, action: np.ndarray, after: np.ndarray) -> np.ndarray:
        assert before.shape == after.shape
        return after[:, 0] > 1.5

    model = WorldModel(SEEN, CHOICE, SMALL, gamma=0.9, ending=ending)
    model.fit(**lived(discrete=True), rng=np.random.default_rng(0))
    test = lived(400, seed=1, discrete=True)
    step = model.step(test["observation"], test["action"], np.random.default_rng(0))
    np.testing.assert_array_equal(step.discount == 0, step.state[:, 0] > 1.5)
    assert np.abs(step.state - test["next_observation"]).mean() < 0.1
    assert step.logits.shape == (400, 3)


def test_nothing_ends_as_long_as_nothing_ever_did() -> None:
    torch.manual_seed(0)
    model, some = WorldModel(SEEN, PUSH, SMALL), lived(200)
    some["terminated"][:] = False
    model.fit(**some, rng=np.random.default_rng(0))
    step = model.step(some["observation"], some["action"], np.random.default_rng(0))
    assert (step.discount == np.float32(model.gamma)).all()
    assert (model.predict(some["observation"][:3], some["action"][:3]).ending == 0).all()
    some["terminated"][:] = True
    model.fit(**some, rng=np.random.default_rng(0))
    assert (model.step(some["observation"], some["action"], np.random.default_rng(0)).discount == 0).mean() > 0.8


def test_what_is_random_comes_from_the_generator(cart: WorldModel) -> None:
    some = lived(64)
    one, two, other = (cart.step(some["observation"], some["action"], np.random.default_rng(i)) for i in (3, 3, 4))
    np.testing.assert_array_equal(one.state, two.state)
    assert (one.state != other.state).any()
    empty = cart.step(some["observation"][:0], some["action"][:0], np.random.default_rng(0))
    assert empty.state.shape == (0, 2)


def test_observations_stay_within_the_space(cart: WorldModel) -> None:
    edge = np.array([[3.99, 4.0]])
    for seed in range(20):
        assert (cart.step(edge, np.ones((1, 1), np.float32), np.random.default_rng(seed)).state <= 4).all()


def test_outside_of_its_data_it_says_so(cart: WorldModel) -> None:
    test = lived(200, seed=3)
    inside = cart.predict(test["observation"], test["action"]).doubt
    assert inside.max() > 0.5
    assert (inside <= OUTSIDE).all()
    with pytest.warns(OutsideData, match=r"5 of 5 predictions lie outside of the model's data: its networks differ up"):
        far = cart.predict(np.full((5, 2), 30.0), np.ones((5, 1), np.float32))
    assert (far.doubt > 6).all()
    near = cart.predict(np.zeros((1, 2)), np.zeros((1, 1), np.float32))
    assert far.spread.mean() > 3 * near.spread.mean()
    np.testing.assert_allclose(cart.doubt(test["observation"], test["action"]), inside)


def test_what_is_held_out_stays_held_out() -> None:
    model, seen = WorldModel(SEEN, PUSH, SMALL), []

    def spy(network: Any, x: Any, y: Any, held_out: np.ndarray, *rest: Any, **options: Any) -> Any:
        seen.append(held_out)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.rl.world_model.learn", spy)
        for n in (400, 800):
            some = lived(n)
            with pytest.raises(KeyboardInterrupt):
                model.fit(**some, rng=np.random.default_rng(0), place=np.arange(n) * 3 + 7)
    assert set(seen[0]) == {i for i in seen[1] if i < 400}
    assert len(seen[1]) / 800 == pytest.approx(0.2, abs=0.05)


def test_a_state_is_taken_back_bit_for_bit(cart: WorldModel) -> None:
    tensors: dict[str, torch.Tensor] = {}
    saved = encode(cart.state_dict(), tensors, "world")
    torch.manual_seed(5)
    other = WorldModel(SEEN, PUSH, SMALL, gamma=0.9)
    assert not other.learned
    other.load_state_dict(decode(saved, tensors))
    some = lived(64)
    for one, two in zip(
        *(model.step(some["observation"], some["action"], np.random.default_rng(0)) for model in (cart, other)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="the saved model has other networks: give the --world settings that it has"):
        WorldModel(SEEN, PUSH, WorldModelSettings(members=4, elites=3, hidden=(9,))).load_state_dict(cart.state_dict())


def test_numbers_that_never_change_do_no_harm() -> None:
    torch.manual_seed(0)
    some = lived(200)
    for name in ("observation", "next_observation"):
        some[name] = np.concatenate([some[name], np.full((200, 1), 2.0)], 1)
    model = WorldModel(spaces.Box(-4, 4, (3,), np.float64), PUSH, SMALL)
    model.fit(**some, rng=np.random.default_rng(0))
    step = model.step(some["observation"], some["action"], np.random.default_rng(0))
    np.testing.assert_array_equal(step.state[:, 2], 2.0)
    assert np.isfinite(step.state).all()


@pytest.mark.parametrize(
    ("seen", "acted", "changes", "says"),
    [
        (spaces.Box(0, 255, (3, 8, 8), np.uint8), PUSH, {}, "predicts observations that are one row of floats and"),
        (spaces.Box(0, 255, (3,), np.uint8), PUSH, {}, "predicts observations that are one row of floats and"),
        (SEEN, spaces.Discrete(3, start=1), {}, r"a choice from 0 or one row of numbers and the action space is Discr"),
        (SEEN, spaces.MultiDiscrete([2, 2]), {}, r"a choice from 0 or one row of numbers and the action space is Mul"),
        (SEEN, PUSH, {"members": 0}, "a world model's members is 1 or more, got 0: 7 is the default"),
        (SEEN, PUSH, {"elites": 8}, "8 elites cannot be chosen from 7 members: add members"),
        (SEEN, PUSH, {"held_out": 1.0}, r"a share of the steps in \(0, 1\) is held out, got 1.0"),
        (SEEN, PUSH, {"learning_rate": 0.0}, "a world model's learning_rate lies above 0"),
    ],
)
def test_what_does_not_fit_is_said(
    seen: spaces.Space[Any], acted: spaces.Space[Any], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        WorldModel(seen, acted, WorldModelSettings(**changes))


def test_too_few_steps_and_none_at_all() -> None:
    model = WorldModel(SEEN, PUSH, SMALL)
    with pytest.raises(ValueError, match="learned from 10 steps or more of which some are held out, got 9"):
        model.fit(**lived(9), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="the model has learned nothing yet: fit it to some steps first"):
        model.predict(np.zeros((1, 2)), np.zeros((1, 1), np.float32))
