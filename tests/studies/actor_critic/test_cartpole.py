"""Ways to weigh are compared on the same episodes: weights by definition, gradients against autograd's own sum."""

import pytest
import torch

from sightline.rl.reinforce import Reinforce, collect_episodes
from sightline.studies.actor_critic import cartpole
from sightline.studies.actor_critic.cartpole import GAMMA, Budget

SMALL = Budget(steps=512, environments=3, rollout=32, batch=24, epochs=1, updates=3, looks=4)


@pytest.fixture
def played():
    torch.set_num_threads(1)
    learner = cartpole.new_learner(SMALL, 0)
    seen, used = collect_episodes(learner, Reinforce(rollout=32, episodes=1, gamma=GAMMA))
    return learner, seen, used


def test_weights_are_what_their_names_say(played) -> None:
    _, seen, used = played
    ways = cartpole.weights_of(seen, used)
    length = int(used[:, 0].sum())
    returns = ways["none"][:length, 0].double()
    expected = torch.tensor([1 - GAMMA ** (length - step) for step in range(length)]).double()
    torch.testing.assert_close(returns, expected, rtol=1e-4, atol=1e-5)  # a reward of 1 - gamma sums up so
    torch.testing.assert_close(ways["1"][:length, 0], (returns - seen.values[:length, 0]).float(), rtol=1e-3, atol=1e-4)
    error = (1 - GAMMA) + GAMMA * seen.next_values * ~seen.terminated - seen.values
    torch.testing.assert_close(ways["0"][used], error[used])
    apart = ways["none"] - ways["constant"]
    assert len(apart[:length, 0].unique().round(decimals=4).unique()) == 1


def test_a_gradient_is_the_sum_of_scores_times_weights(played) -> None:
    learner, seen, used = played
    ways = cartpole.weights_of(seen, used)
    found = cartpole.gradients_of(learner.policy, seen, used, {"none": ways["none"], "twice": 2 * ways["none"]})
    torch.testing.assert_close(found["twice"], 2 * found["none"])
    learner.policy.zero_grad()
    for step, environment in used.nonzero()[:5].tolist():
        distribution = learner.policy.distribution(seen.observation[step, environment][None])
        gain = learner.policy.log_prob(distribution, seen.action[step, environment][None])
        (gain.sum() * ways["none"][step, environment] / 3).backward()
    first = used.nonzero()[:5]
    only = torch.zeros_like(ways["none"])
    only[first[:, 0], first[:, 1]] = ways["none"][first[:, 0], first[:, 1]]
    one = cartpole.gradients_of(learner.policy, seen, used, {"first": only})["first"]
    actor = [*learner.policy.actor_body.parameters(), *learner.policy.actor.parameters()]
    torch.testing.assert_close(one, torch.cat([part.grad.flatten() for part in actor]), rtol=1e-3, atol=1e-6)


def test_a_training_gives_its_curve_and_its_stages() -> None:
    torch.set_num_threads(1)
    learned = cartpole.learn(0.9, 0, SMALL)
    assert learned["steps"] == [128, 256, 384, 512]
    assert all(8 < one < 500 for one in learned["returns"])
    assert learned["last"] == pytest.approx(learned["returns"][-1], abs=0.01)
    stages = cartpole.stages(0, SMALL)
    assert [one["steps"] for one in stages] == [96, 288, 576]
    for one in stages:
        assert set(one["variance"]) == {"none", "constant", "0", "0.5", "0.9", "0.95", "1"}
        assert one["variance"]["0"] < one["variance"]["none"]
