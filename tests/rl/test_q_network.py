"""Networks of action values: values, exploration, masks, and the same in NumPy."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from sightline.play.thoughts import thoughts
from sightline.rl.distributions import Distribution, EpsilonGreedy
from sightline.rl.policies import PolicySettings
from sightline.rl.policies.flat import Flat
from sightline.rl.policies.q_by_hand import QByHand
from sightline.rl.policies.q_network import QNetwork, make_q_network

SEEN = spaces.Box(-1, 1, (3,), np.float32)


def network(duelling: bool = False, seen: Any = SEEN, actions: int = 4, **settings: Any) -> QNetwork:
    torch.manual_seed(0)
    found = make_q_network(
        seen, spaces.Discrete(actions), PolicySettings(**{"hidden": (8, 6), **settings}), duelling=duelling
    )
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return found


def test_duelling_adds_a_value_and_advantages_of_mean_0() -> None:
    q, x = network(duelling=True), torch.randn(5, 3)
    out = q.head(q.actor_body(x))
    for row, values in zip(out, q.values(x), strict=True):
        mean = sum(row[:4]) / 4
        for a in range(4):
            torch.testing.assert_close(values[a], row[4] + row[a] - mean)
    torch.testing.assert_close(q.values(x).mean(1), out[:, 4])


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_it_acts_epsilon_greedily(epsilon: float) -> None:
    values = torch.tensor([[1.0, 3.0, -torch.inf, 2.0]]).expand(40_000, 4)
    found = EpsilonGreedy(values, torch.tensor(epsilon))
    assert isinstance(found, Distribution)
    share = torch.tensor([epsilon / 3, 1 - epsilon + epsilon / 3, 0, epsilon / 3])
    torch.testing.assert_close(found.log_probabilities[0].exp(), share)
    generator = torch.Generator().manual_seed(0)
    noise = -torch.empty(values.shape).exponential_(generator=generator).log()
    drawn = found.sample(noise).bincount(minlength=4) / len(values)
    torch.testing.assert_close(drawn, share, atol=0.01, rtol=0)
    assert (found.mode() == 1).all()
    reference = torch.distributions.Categorical(probs=share)
    torch.testing.assert_close(found.entropy()[0], reference.entropy())
    torch.testing.assert_close(found.log_prob(torch.ones(len(values), dtype=torch.long))[0], share[1].log())
    other = EpsilonGreedy(values.roll(1, 1).masked_fill(values.isneginf(), -torch.inf), torch.tensor(0.5))
    wanted = (share * (share.log() - other.log_probabilities[0]))[share > 0].sum()
    torch.testing.assert_close(found.kl(other)[0], wanted)


@pytest.mark.parametrize("duelling", [False, True])
@pytest.mark.parametrize("settings", [{"activation": "tanh"}, {"activation": "relu"}, {"hidden": (0,)}])
def test_by_hand_is_the_same(duelling: bool, settings: dict[str, Any]) -> None:
    q = network(duelling, **settings)
    assert QByHand.of(q) is None  # not joined
    Flat(q)
    hands = QByHand.of(q)
    assert hands is not None
    x, noise = torch.randn(40, 3), -torch.empty(40, 4).exponential_().log()
    torch.testing.assert_close(torch.from_numpy(hands.values(x.numpy())), q.values(x).detach())
    for epsilon in (0.0, 0.4, 1.0):
        q.explore(epsilon)
        with torch.no_grad():
            expected = q.act(q.actor_body(x), x, noise)
        np.testing.assert_array_equal(hands.act(x.numpy(), noise.numpy()), expected)


def test_masks_forbid() -> None:
    space = spaces.Dict(seen=SEEN, action_mask=spaces.MultiBinary(4))
    q = network(seen=space)
    mask = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.int8)
    values = q.values({"seen": torch.randn(3, 3), "action_mask": mask})
    assert values.isneginf().tolist() == [[False, True, False, True], [True, False, True, True], [False] * 4]
    Flat(q)
    assert QByHand.of(q) is None


def test_images_go_through_an_encoder() -> None:
    q = network(seen=spaces.Box(0, 255, (12, 12, 3), np.uint8), encoder="non-local")
    assert q.values(torch.randint(0, 255, (2, 12, 12, 3), dtype=torch.uint8)).shape == (2, 4)
    assert q.values(torch.randint(0, 255, (2, 12, 12, 3), dtype=torch.uint8)).isfinite().all()


def test_its_thoughts_are_values() -> None:
    found = EpsilonGreedy(torch.tensor([[1.0, -1.0, -torch.inf, 0.0]]), torch.tensor(0.1))
    words, bars = thoughts(network(), found, torch.tensor([3]), ("up", "down", "left", "right"))
    assert words == "right"
    assert [bar.text for bar in bars] == ["1", "-1", "forbidden", "0"]
    assert [bar.to for bar in bars] == [1.0, 0.0, 0.0, 0.5]
    assert [bar.chosen for bar in bars] == [False, False, False, True]
    assert thoughts(network(), found, torch.tensor([0]), ())[0] == "0"


def test_its_epsilon_is_saved() -> None:
    q = network()
    q.explore(0.25)
    other = network()
    other.load_state_dict(copy.deepcopy(q.state_dict()))
    assert other.epsilon == 0.25


@pytest.mark.parametrize(
    ("action", "settings", "says"),
    [
        (spaces.Box(-1, 1, (2,), np.float32), {}, r"DQN values each of a few actions .* is Box.*: use sac for a Box"),
        (spaces.MultiDiscrete([2, 3]), {}, r"DQN values each of a few actions and the action space is MultiDiscrete"),
        (spaces.Discrete(2), {"memory": 4}, r"--memory is for reinforce, a2c and ppo, and DQN has no such choice"),
        (spaces.Discrete(2), {"squash": True}, r"--squash is for reinforce, a2c and ppo"),
        (spaces.Discrete(2), {"shared": True}, r"--shared is for reinforce, a2c and ppo"),
        (spaces.Discrete(2), {"encoder": "vit"}, r"the encoder vit reads images and Box.* has none: leave it out"),
    ],
)
def test_what_does_not_fit(action: spaces.Space[Any], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_q_network(SEEN, action, PolicySettings(**settings))
