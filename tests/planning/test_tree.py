"""A tree that is advanced, saved, loaded, shown; evaluators; and actions that are real numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tests.planning.random_trees import Explicit, random_layers

from sightline.planning.evaluators import Net, Rollout
from sightline.planning.model import Step
from sightline.planning.rules import Widening
from sightline.planning.search import search
from sightline.planning.states import mapped, put, room_for, taken
from sightline.planning.tree import Tree


@pytest.mark.parametrize("select", ["uct", "puct", "gumbel"])
def test_what_is_known_below_the_action_is_kept(select: Any) -> None:
    model = random_layers(3, players=2, depth=6, illegal=0.0)
    roots = np.arange(4)
    found = search(model, model.root(roots), rng=0, simulations=80, select=select)
    before, tree = found.tree.arrays, found.tree.advance(found.action)
    child = before.edges[roots, 0, found.action]["child"]
    after = tree.arrays
    for field in ("arrivals", "mean", "value"):
        np.testing.assert_array_equal(after.nodes[field][:, 0], before.nodes[field][roots, child])
    np.testing.assert_array_equal(after.edges["visits"][:, 0], before.edges["visits"][roots, child])
    for r in roots:
        shown = found.tree.show(int(r), depth=20, most=20).splitlines()
        at = next(i for i, line in enumerate(shown) if line.startswith(f"  action {found.action[r]}:"))
        below = []
        for line in shown[at + 1 :]:
            if not line.startswith("    "):
                break
            below.append(line[2:])
        assert tree.show(int(r), depth=20, most=20).splitlines()[1:] == below
    states = np.asarray(tree.states).reshape(4, -1)
    nexts = model.step(roots, found.action, np.random.default_rng(0))
    np.testing.assert_array_equal(states[:, 0], nexts.state)
    going = nexts.discount != 0
    assert going.all()
    again = search(model, model.root(nexts.state), rng=0, simulations=20, select=select, tree=tree)
    assert again.visits.sum(1).tolist() == (after.nodes["arrivals"][:, 0] - 1 + 20).tolist()
    assert tree.arrays.nodes["arrivals"][:, 0].tolist() == after.nodes["arrivals"][:, 0].tolist(), "it stays as it is"
    used = again.tree.arrays.roots["used"]
    for r in roots:  # every place is where its parent says
        nodes, edges = again.tree.arrays.nodes[r, : used[r]], again.tree.arrays.edges[r]
        for number in range(1, int(used[r])):
            assert edges[nodes[number]["parent"], nodes[number]["slot"]]["child"] == number
            assert nodes[number]["parent"] < number


@pytest.mark.parametrize("select", ["uct", "puct"])
def test_advancing_by_nothing_new_is_searching_on(select: Any) -> None:
    """80 simulations, or 50 and 30 more of the same tree."""
    model = random_layers(8, players=2, depth=6)
    root = model.root(np.arange(3))
    whole = search(model, root, rng=0, simulations=80, select=select)
    part = search(model, root, rng=0, simulations=50, select=select)
    rest = search(model, root, rng=0, simulations=30, select=select, tree=part.tree)
    assert rest.simulations == 30
    for r in range(3):
        assert rest.tree.show(r, 20, 20) == whole.tree.show(r, 20, 20)


def test_what_was_never_tried_begins_anew() -> None:
    model = random_layers(3, players=2, depth=6, illegal=0.0)
    root = model.root(np.arange(2))
    found = search(model, root, rng=0, simulations=30)
    untried = search(model, root, rng=0, simulations=1)
    other = (untried.action + 1) % 3
    assert untried.tree.advance(other).arrays.roots["used"].tolist() == [0, 0]
    kept = found.tree.advance(found.action, keep=np.array([True, False]))
    assert (kept.arrays.roots["used"] > 0).tolist() == [True, False]
    assert kept.show(1) == "nothing is known yet"
    nexts = model.root(np.array([model.to[0, found.action[0], 0], 1]))
    mixed = search(model, nexts, rng=0, simulations=25, tree=kept)
    fresh = search(model, nexts, rng=0, simulations=25)
    assert mixed.tree.show(1, 9, 9) == fresh.tree.show(1, 9, 9)
    assert mixed.visits[0].sum() > 25 == mixed.visits[1].sum()
    many = search(model, root, rng=0, simulations=30, outcomes="many")
    assert many.tree.advance(many.action).arrays.roots["used"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="numbers from 0 to 2, got 0 to 3"):
        found.tree.advance(np.array([0, 3]))
    with pytest.raises(ValueError, match="2 roots goes on with a tree of as many and its states, got one of 1 with"):
        search(
            model, root, rng=0, simulations=5, tree=search(model, model.root(np.arange(1)), rng=0, simulations=5).tree
        )
    wrong = root._replace(logits=np.where(np.arange(3) == 0, -np.inf, root.logits).astype(np.float32))
    with pytest.raises(ValueError, match="legal actions of root 0 are not those of its tree"):
        search(model, wrong, rng=0, simulations=5, tree=found.tree)


def test_a_tree_goes_on_after_chance() -> None:
    model = Explicit(random_layers(5, outcomes=2, depth=4, ends=0.0))
    found = search(model, model.root(np.arange(2)), rng=0, simulations=100)
    between = found.tree.advance(found.action)
    with pytest.raises(ValueError, match="nobody moves at root 0: step to an outcome first"):
        search(model, model.root(np.arange(2))._replace(logits=between.arrays.edges["prior"][:, 0].astype(np.float32)),
               rng=0, simulations=5, tree=between)  # fmt: skip
    after = between.advance(np.array([1, 0]))
    state = taken(after.states, np.arange(2) * after.capacity)
    root = Step(state, np.zeros(2), np.ones(2), model.layers.logits[state[0]], model.layers.value[state[0]])
    assert search(model, root, rng=0, simulations=5, tree=after).visits.sum() > 10


class Pair(NamedTuple):
    one: Any
    other: Any


def test_states_of_every_kind_are_kept() -> None:
    state = (np.arange(6).reshape(3, 2), Pair(torch.arange(3.0), ["a", "b", "c"]))
    room = room_for(state, 5)
    put(room, np.array([4, 0, 2]), state)
    back = taken(room, np.array([0, 4, 2]))
    assert isinstance(back[1], Pair)
    np.testing.assert_array_equal(back[0], [[2, 3], [0, 1], [4, 5]])
    assert back[1].one.tolist() == [1.0, 0.0, 2.0]
    assert back[1].other == ["b", "a", "c"]
    assert mapped(lambda part: len(part), state) == (3, Pair(3, 3))


def test_a_tree_is_saved_and_searched_on(tmp_path: Path) -> None:
    model = Explicit(random_layers(3, outcomes=2))
    root = model.root(np.arange(2))
    found = search(model, root, rng=0, simulations=30)
    found.tree.save(tmp_path / "tree.npz")
    looked = Tree.load(tmp_path / "tree.npz")
    assert looked.show(1, 9, 9) == found.tree.show(1, 9, 9)
    with pytest.raises(ValueError, match="got one of 2 without states"):
        search(model, root, rng=0, simulations=5, tree=looked)
    loaded = Tree.load(tmp_path / "tree.npz", like=root.state)
    more = [search(model, root, rng=1, simulations=20, tree=tree).tree.show(0, 9, 9) for tree in (found.tree, loaded)]
    assert more[0] == more[1]
    with pytest.raises(ValueError, match="holds 2 arrays of states and the state given has 1"):
        Tree.load(tmp_path / "tree.npz", like=np.zeros(1))


def test_a_tree_is_shown() -> None:
    model = random_layers(1, players=2, illegal=0.0, results=True)
    found = search(model, model.root(np.zeros(1, np.int64)), rng=0, simulations=40, solver=True)
    lines = found.tree.show(depth=1, most=2).splitlines()
    assert lines[0].startswith(f"root: {found.visits.sum() + 1} visits, value ")
    assert len(lines) == 3
    first = found.tree.arrays.edges[0, 0]
    best = int(first["visits"].argmax())
    wanted = (
        f"  action {best}: {first[best]['visits']} visits, q {first[best]['q']:+.3f}, prior {first[best]['prior']:.3f}"
    )
    assert wanted in found.tree.show(depth=1)
    assert f"action {best}" in lines[1] or f" {first[best]['visits']} visits" in lines[1]
    line = found.line[0][found.line[0] >= 0]
    assert line[0] == found.action[0]
    assert "outcome 0" in search(
        model, model.root(np.zeros(1, np.int64)), rng=0, simulations=40, outcomes="many"
    ).tree.show(depth=3)


def test_a_rollout_is_the_mean_of_random_games() -> None:
    for layers, players in ((random_layers(3, outcomes=2), 1), (random_layers(4, players=2, outcomes=2), 2)):
        q = np.zeros(layers.logits.shape)
        for s in range(len(q) - 1, -1, -1):  # what random play is worth
            for a in range(layers.num_actions):
                legal = layers.logits[layers.to[s, a]] > -np.inf
                ahead = np.where(legal, q[layers.to[s, a]], 0).sum(1) / legal.sum(1)
                ahead = np.where(layers.discount[s, a] == 0, 0, ahead)
                q[s, a] = layers.probability[s, a] @ (layers.reward[s, a] + layers.discount[s, a] * ahead)
        legal = layers.logits[:5] > -np.inf
        wanted = np.where(legal, q[:5], 0).sum(1) / legal.sum(1)
        for model in (layers, Explicit(layers)):
            step = model.root(np.arange(5))
            found = Rollout(4000)(model, step, np.random.default_rng(players))
            np.testing.assert_allclose(found.value, wanted, atol=0.06)
            np.testing.assert_array_equal(found.logits, step.logits)
    cut = Rollout(1, limit=1)(layers, layers.root(np.arange(5)), np.random.default_rng(0))
    assert np.isfinite(cut.value).all()
    with pytest.raises(ValueError, match="1 playout of 1 step or more, got 0 of 10000"):
        Rollout(0)


def test_a_network_evaluates() -> None:
    model = random_layers(3, illegal=0.4)
    table = torch.randn(20, 4)
    net = Net(lambda state: (table[state, :3], table[state, 3:]))
    step = net(model, model.root(np.arange(5)), np.random.default_rng(0))
    illegal = model.logits[:5] == -np.inf
    np.testing.assert_array_equal(step.logits, np.where(illegal, -np.inf, table[:5, :3].numpy()))
    np.testing.assert_array_equal(step.value, table[:5, 3].numpy())
    found = search(model, model.root(np.arange(5)), rng=0, simulations=30, evaluator=net)
    states, nodes = np.asarray(found.tree.states).reshape(5, -1), found.tree.arrays.nodes
    inner = (nodes["kind"] == 1) & (nodes["arrivals"] > 0)
    np.testing.assert_allclose(nodes["value"][inner], table[states[inner], 3])
    with pytest.raises(ValueError, match=r"gives logits \[5, 3\] and 5 values, got \[5, 2\] and \[5\]"):
        Net(lambda state: (table[state, :2], table[state, 3]))(
            model, model.root(np.arange(5)), np.random.default_rng(0)
        )
    bad = torch.where(torch.arange(20)[:, None] > 6, torch.nan, table)
    with pytest.raises(ValueError, match=r"after the actions .* the value there is not finite"):
        search(
            model, model.root(np.arange(5)), rng=0, simulations=30, evaluator=Net(lambda s: (table[s, :3], bad[s, 3]))
        )


@dataclass
class Aim:
    """One throw at a target on a line, or two: reward 1 - distance."""

    throws: int = 1
    num_actions: int = 1

    def root(self, observation: np.ndarray) -> Step:
        return self.at(np.stack([observation, np.zeros(len(observation))], 1), np.zeros(len(observation)))

    def at(self, state: np.ndarray, reward: np.ndarray) -> Step:
        over = state[:, 1] >= self.throws
        zeros = np.zeros(len(state), np.float32)
        return Step(state, reward.astype(np.float32), np.where(over, 0, 1).astype(np.float32), zeros[:, None], zeros)

    def propose(self, state: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-1, 1, (len(state), k, 1))

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        return self.at(state + np.array([0.0, 1.0]), 1 - np.abs(state[:, 0] - action[:, 0]))


@pytest.mark.parametrize("select", ["uct", "puct"])
def test_proposed_actions_come_closer_the_longer_one_looks(select: Any) -> None:
    model, target = Aim(), np.linspace(-0.9, 0.9, 40)
    missed = []
    for simulations in (10, 100, 1000):
        found = search(model, model.root(target), rng=0, simulations=simulations, select=select)
        assert found.action.shape == (40, 1)
        missed.append(np.abs(found.action[:, 0] - target).mean())
        tried = (found.visits > 0).sum(1)
        assert tried.max() == np.ceil(np.sqrt(simulations)), "as many as are open, and no more"
        assert select == "puct" or tried.min() == tried.max()
    assert missed[0] > 1.5 * missed[1] > 2 * missed[2], missed
    one = search(Aim(), model.root(target), rng=0, simulations=100, select=select, widening=Widening(action_power=0.0))
    assert (one.visits > 0).sum(1).tolist() == [1] * 40
    two = search(Aim(2), model.root(target), rng=0, simulations=400, select=select)
    assert two.value.mean() > 0.9
    rollout = search(Aim(2), model.root(target), rng=0, simulations=100, select=select, evaluator=Rollout(2))
    assert rollout.value.mean() > 0.8
    with pytest.raises(ValueError, match="choose uct or puct"):
        search(model, model.root(target), rng=0, simulations=5, select="gumbel")
    with pytest.raises(ValueError, match="proves nothing"):
        search(model, model.root(target), rng=0, simulations=5, solver=True)
