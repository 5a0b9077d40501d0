"""Every row once an epoch, every environment alike, and in an order that is its own."""

import json

import pytest
import torch

from sightline.rl.minibatches import Order, minibatches
from sightline.run.states import decode, encode


@pytest.mark.parametrize(("steps", "environments", "parts"), [(12, 3, 4), (6, 1, 6), (5, 4, 1), (8, 2, 2)])
def test_an_epoch_has_every_row_once_and_every_environment_alike(steps: int, environments: int, parts: int) -> None:
    order = Order(environments, seed=0)
    epochs = [order.epoch(steps, parts) for _ in range(3)]
    for epoch in epochs:
        assert epoch.shape == (parts, steps * environments // parts)
        assert sorted(epoch.flatten().tolist()) == list(range(steps * environments))
        for part in epoch:
            assert torch.equal(torch.bincount(part % environments), torch.full((environments,), steps // parts))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


def steps_of(epoch: torch.Tensor, environments: int, index: int) -> list[list[int]]:
    """The rows of one environment in every part, as steps."""
    return [[int(row) // environments for row in part if row % environments == index] for part in epoch]


def test_the_order_of_an_environment_does_not_depend_on_its_company() -> None:
    whole, left, right = Order(5, seed=7), Order(2, seed=7), Order(3, seed=7, first=2)
    for _ in range(3):
        all_five, two, three = (order.epoch(8, 4) for order in (whole, left, right))
        for i in range(5):
            alone = steps_of(two, 2, i) if i < 2 else steps_of(three, 3, i - 2)
            assert steps_of(all_five, 5, i) == alone
    other = Order(5, seed=8).epoch(8, 4)
    assert not torch.equal(other, Order(5, seed=7).epoch(8, 4))
    orders = [steps_of(other, 5, i) for i in range(5)]
    assert all(orders.count(one) == 1 for one in orders), "each environment has a stream of its own"


@pytest.mark.parametrize(("steps", "environments", "parts"), [(5, 6, 3), (1, 4, 1), (3, 2, 2)])
def test_an_epoch_has_every_environment_once_in_the_order_of_time(steps: int, environments: int, parts: int) -> None:
    order = Order(environments, seed=0)
    orders = []
    for _ in range(6):
        found = order.epoch_of_environments(steps, parts)
        each = [part.unflatten(0, (steps, environments // parts)) for part in found]
        for part in each:
            assert torch.equal(part, part[:1] + environments * torch.arange(steps)[:, None])
        orders.append(torch.cat([part[0] for part in each]).tolist())
    assert all(sorted(one) == list(range(environments)) for one in orders)
    assert len(set(map(tuple, orders))) > 1


def test_every_process_has_its_own_environments_of_the_same_minibatch() -> None:
    whole = Order(5, seed=7)
    left, right = Order(2, seed=7, total=5), Order(3, seed=7, first=2, total=5)
    for _ in range(4):
        for all_five, two, three in zip(
            *(one.epoch_of_environments(4, 5) for one in (whole, left, right)), strict=True
        ):
            environments = [part.unflatten(0, (4, -1))[0].tolist() for part in (all_five, two) if len(part)]
            here = three[: len(three) // 4].tolist()
            assert environments[0] == (environments[1:] or [[]])[0] + [one + 2 for one in here]
    with pytest.raises(ValueError, match=r"^5 environments cannot be shared out evenly over 2 minibatches$"):
        whole.epoch_of_environments(4, 2)


def test_an_order_goes_on_where_it_was() -> None:
    order, resumed = Order(3, seed=1), Order(3, seed=2)
    order.epoch(6, 2)
    order.epoch_of_environments(2, 3)
    saved = json.loads(json.dumps(encode(order.state_dict(), {}, "order")))
    expected = [order.epoch(6, 2) for _ in range(2)]
    whole = [torch.stack(order.epoch_of_environments(2, 3)) for _ in range(3)]
    resumed.load_state_dict(decode(saved, {}))
    assert all(torch.equal(resumed.epoch(6, 2), one) for one in expected)
    assert all(torch.equal(torch.stack(resumed.epoch_of_environments(2, 3)), one) for one in whole)
    with pytest.raises(ValueError, match=r"^the saved order is of 3 environments, here are 4$"):
        Order(4, seed=1).load_state_dict(order.state_dict())


@pytest.mark.parametrize("parts", [0, -1, 4, 12])
def test_steps_that_cannot_be_shared_out(parts: int) -> None:
    with pytest.raises(ValueError, match=rf"^6 steps cannot be shared out evenly over {parts} minibatches"):
        Order(2, seed=0).epoch(6, parts)


def test_how_many_minibatches() -> None:
    assert minibatches(128, 8, 256) == 4
    assert minibatches(128, 8, 1024) == 1
    assert minibatches(128, 8, 8) == 128
    assert minibatches(6, 4, 12) == 2
    assert minibatches(6, 4, 12, whole=True) == 2
    assert minibatches(128, 8, 128, whole=True) == 8
    says = (
        "minibatches of 16 do not share them out evenly over whole environments, which a memory needs: use --batch 12,"
    )
    with pytest.raises(ValueError, match=says):
        minibatches(12, 4, 16, whole=True)


@pytest.mark.parametrize(
    ("rollout", "environments", "batch", "near"),
    [(128, 8, 250, 256), (128, 8, 4096, 1024), (128, 8, 1, 8), (6, 4, 16, 12), (6, 4, 20, 24), (6, 4, 18, 12)],
)
def test_the_nearest_batch_is_named(rollout: int, environments: int, batch: int, near: int) -> None:
    rows = rollout * environments
    says = (
        rf"^a rollout of {rollout} steps in {environments} environments has {rows} rows, and minibatches of {batch} do "
        rf"not share them out evenly over time and environments: use --batch {near}, or another --rollout$"
    )
    with pytest.raises(ValueError, match=says):
        minibatches(rollout, environments, batch)
    assert rows % near == 0
