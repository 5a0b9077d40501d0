"""Every space that a policy fits, from numbers to actions that it contains and back; the others by one sentence."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from sightline.rl.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Gaussian,
    MultiDiscrete,
    SquashedGaussian,
    fit_distribution,
)

BOX = spaces.Box(np.array([[-2.0], [0.0]]), np.array([[2.0], [0.5]]), dtype=np.float64)
CASES = [
    (spaces.Discrete(5), {}, Categorical, 5, 0, 5),
    (spaces.Discrete(3, start=-1), {}, Categorical, 3, 0, 3),
    (spaces.MultiDiscrete([2, 4, 3]), {}, MultiDiscrete, 9, 0, 12),
    (spaces.MultiDiscrete([[2, 2], [2, 2]], start=[[0, 1], [2, 3]]), {}, MultiDiscrete, 8, 0, 8),
    (spaces.MultiBinary(4), {}, Bernoulli, 4, 0, 4),
    (spaces.MultiBinary([2, 3]), {}, Bernoulli, 6, 0, 6),
    (spaces.Box(-1, 1, (3,)), {}, Gaussian, 3, 3, 3),
    (spaces.Box(-np.inf, np.inf, (2,)), {"scale": "state"}, Gaussian, 4, 0, 2),
    (BOX, {"squash": True}, SquashedGaussian, 2, 2, 2),
    (BOX, {"squash": True, "scale": "state"}, SquashedGaussian, 4, 0, 2),
]  # fmt: skip


@pytest.mark.parametrize(("space", "options", "kind", "outputs", "free", "noise"), CASES)
@pytest.mark.parametrize("rows", [(), (6,), (3, 2)])
def test_a_space_and_its_distribution_agree(space, options, kind, outputs, free, noise, rows):
    fit = fit_distribution(space, **options)
    assert (fit.outputs, fit.free, fit.noise) == (outputs, free, noise)
    scales = torch.full((free,), 0.3) if free else None
    ours = fit.distribution(torch.randn(*rows, outputs), scales)
    assert isinstance(ours, kind)
    assert isinstance(ours, Distribution)
    drawn = torch.from_numpy(fit.draw(np.random.default_rng(0), math.prod(rows))).reshape(*rows, noise)
    for action in (ours.sample(drawn), ours.mode()):
        taken = fit.to_space(action)
        assert taken.shape == (*rows, *space.shape)
        for one in taken.reshape(-1, *space.shape):
            assert space.contains(space.dtype.type(one) if isinstance(space, spaces.Discrete) else one), one
        assert ours.log_prob(action).shape == ours.entropy().shape == ours.kl(ours).shape == rows
        back = fit.from_space(taken)
        assert back.shape == action.shape
        if not isinstance(ours, Gaussian):  # whose actions were clipped
            torch.testing.assert_close(back, action.to(back.dtype))
            assert ours.log_prob(back).isfinite().all()


def test_every_action_of_a_space_can_be_drawn_and_read_back():
    space = spaces.MultiDiscrete([2, 3], start=[5, 7])
    fit = fit_distribution(space)
    drawn = torch.from_numpy(fit.draw(np.random.default_rng(1), 500))
    action = fit.distribution(torch.zeros(500, 5)).sample(drawn)
    assert {tuple(row) for row in fit.to_space(action).tolist()} == {(a, b) for a in (5, 6) for b in (7, 8, 9)}
    for other in (space, spaces.Discrete(4, start=-2), spaces.MultiBinary([2, 2]), BOX):
        fit = fit_distribution(other)
        for one in (other.sample() for _ in range(20)):
            np.testing.assert_allclose(fit.to_space(fit.from_space(one)), one, rtol=1e-6)


def test_a_gaussians_actions_are_clipped_on_their_way_to_the_environment_alone():
    fit = fit_distribution(spaces.Box(-1, 1, (2,)))
    assert fit.to_space(torch.tensor([[3.0, -0.5]])).tolist() == [[1.0, -0.5]]
    ours = fit.distribution(torch.zeros(1, 2), torch.zeros(2))
    assert ours.sample(torch.tensor([[3.0, -0.5]])).tolist() == [[3.0, -0.5]]


def test_state_dependent_scales_follow_the_means_and_cannot_overflow():
    fit = fit_distribution(spaces.Box(-1, 1, (2,)), scale="state")
    ours = fit.distribution(torch.tensor([[1.0, 2.0, -3.0, 0.5]]))
    assert (ours.mean.tolist(), ours.log_scale.tolist()) == ([[1.0, 2.0]], [[-3.0, 0.5]])
    for wild in (-1e4, 1e4):
        ours = fit.distribution(torch.tensor([[0.0, 0.0, wild, wild]]))
        assert ours.log_prob(torch.tensor([[0.1, 1.0]])).isfinite()
        assert ours.entropy().isfinite()


def test_masks_reach_the_distribution_and_half_precision_becomes_float32():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    ours = fit_distribution(spaces.Discrete(3)).distribution(torch.zeros(2, 3, dtype=torch.bfloat16), mask=mask)
    assert ours.log_prob(torch.tensor([0, 1])).tolist() == [pytest.approx(math.log(0.5)), 0.0]
    assert ours.entropy().dtype == torch.float32
    mask = torch.tensor([[True, False, True], [True, True, True]])
    several = fit_distribution(spaces.MultiDiscrete([2, 1])).distribution(torch.zeros(2, 3), mask=mask)
    assert several.entropy().tolist() == [0.0, pytest.approx(math.log(2))]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({"a": spaces.Discrete(2)}),
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Text(3),
        spaces.Box(0, 255, (2, 2), dtype=np.uint8),
        spaces.Box(-1, 1, (0,)),
        spaces.Sequence(spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_space_that_no_policy_fits_is_one_sentence(space):
    with pytest.raises(ValueError, match=r"no policy fits the action space .*: Discrete, MultiDiscrete, "):
        fit_distribution(space)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_one_sentence():
    for box in (spaces.Box(-np.inf, 1, (2,)), spaces.Box(1, 1, (2,))):
        with pytest.raises(ValueError, match="a squashed Gaussian needs a finite box of positive width"):
            fit_distribution(box, squash=True)
    with pytest.raises(ValueError, match="unknown scale 'sate': did you mean 'state'"):
        fit_distribution(spaces.Box(-1, 1, (2,)), scale="sate")
    box, choice = fit_distribution(spaces.Box(-1, 1, (2,))), fit_distribution(spaces.Discrete(3))
    with pytest.raises(ValueError, match="Box space takes 2 outputs, got 4"):
        box.distribution(torch.zeros(5, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="Box space takes 2 free scales, got 0"):
        box.distribution(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="Box space takes 0 mask entries, got 2"):
        box.distribution(torch.zeros(5, 2), torch.zeros(2), torch.ones(5, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="Discrete space takes 0 free scales, got 3"):
        choice.distribution(torch.zeros(5, 3), torch.zeros(3))
