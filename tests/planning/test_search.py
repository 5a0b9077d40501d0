"""The search against its slow twin, exact values of small worlds, and itself in batches and uncompiled."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.planning.random_trees import Explicit, Layers, random_layers
from tests.planning.slow_search import Node, Samples, SlowSearch

from sightline.planning import jit
from sightline.planning import search as searching
from sightline.planning.model import Step
from sightline.planning.rules import PUCT, UCT, Gumbel, Noise, Widening
from sightline.planning.search import Found, search
from sightline.planning.tree import Tree

RULES = {
    "uct": UCT(),
    "uct-narrow": UCT(0.3),
    "puct": PUCT(),
    "puct-parent": PUCT(2.0, 50.0, "parent", 0.3),
    "puct-lowest": PUCT(0.7, first_play="lowest"),
    "gumbel": Gumbel(),
    "gumbel-two": Gumbel(considered=2, scale=0.5, value_scale=0.4, visit_offset=10.0),
}  # fmt: skip


def same(slow: Node, tree: Tree, r: int = 0) -> int:
    """Every node has the same visits and means in both; how many there are."""
    nodes, edges, left, count = tree.arrays.nodes[r], tree.arrays.edges[r], [(slow, 0)], 0
    while left:
        node, number = left.pop()
        count += 1
        assert nodes[number]["arrivals"] == len(node.returns)
        np.testing.assert_allclose(nodes[number]["mean"], np.mean(node.returns), atol=1e-9)
        assert nodes[number]["solved"] == (node.proven is not None)
        if node.proven is not None:
            np.testing.assert_allclose(nodes[number]["exact"], node.proven, atol=1e-9)
        for slot in range(tree.width):
            child = node.children.get(slot)
            below = int(edges[number, slot]["child"])
            assert (below >= 0) == (child is not None)
            if child is None:
                continue
            np.testing.assert_allclose(edges[number, slot]["q"], node.q(slot), atol=1e-9)
            assert edges[number, slot]["visits"] == node.visits(slot)
            if isinstance(child, Samples):
                chain = [int(edges[below, 0]["child"])]
                while nodes[chain[-1]]["sibling"] >= 0:
                    chain.append(int(nodes[chain[-1]]["sibling"]))
                assert nodes[below]["outcomes"] == sum(child.weights)
                assert nodes[chain]["weight"].tolist() == child.weights[::-1]
                left += zip(child.nodes, reversed(chain), strict=True)
                count += 1
            else:
                left.append((child, below))
    assert count == tree.arrays.roots[r]["used"]
    return count


@pytest.mark.parametrize("normalise", ["no", "auto", "tree", "siblings"])
@pytest.mark.parametrize("name", RULES)
def test_every_node_is_that_of_the_slow_search(name: str, normalise: Any) -> None:
    places = 0
    for seed in range(9):
        gamma, players = (1.0, 0.9)[seed % 2], 1 + seed % 3 % 2
        model = random_layers(seed, players=players, gamma=gamma, actions=2 + seed % 4, depth=6, ends=0.03)
        if seed % 4 == 0:  # values far from [-1, 1]
            model = replace(model, reward=model.reward * 30 + 5, value=model.value * 30)
        root = model.root(np.array([0]))
        slow = SlowSearch(model, RULES[name], normalise).run(root, 70, np.random.default_rng(seed))
        found = search(model, root, rng=seed, simulations=70, select=RULES[name], normalise=normalise)
        places += same(slow, found.tree)
    assert places > 90


@pytest.mark.parametrize("name", ["uct", "puct", "gumbel"])
@pytest.mark.parametrize("kind", ["chance", "many", "solver", "solver-chance"])
def test_chance_and_proofs_are_those_of_the_slow_search(name: str, kind: str) -> None:
    proofs, places = 0, 0
    for seed in range(5):
        outcomes = 1 if kind == "solver" else 3
        model: Any = random_layers(seed, players=2, outcomes=outcomes, depth=4, results="solver" in kind)
        many, solver = kind == "many", "solver" in kind
        model = Explicit(model) if "chance" in kind else model
        root, wide = model.root(np.array([0])), Widening(outcome_factor=0.7, outcome_power=0.6)
        slow = SlowSearch(model, RULES[name], solver=solver, many=many, widening=wide)
        top = slow.run(root, 90, np.random.default_rng(seed))
        found = search(
            model, root, rng=seed, simulations=90, select=RULES[name], normalise="no", solver=solver,
            outcomes="many" if many else None, widening=wide,
        )  # fmt: skip
        places += same(top, found.tree)
        proofs += found.tree.arrays.nodes["solved"].sum()
    assert places > 60
    assert (proofs > 5) == ("solver" in kind)


@pytest.mark.parametrize("name", RULES)
def test_a_batch_is_its_roots_one_at_a_time(name: str) -> None:
    model = random_layers(3, players=2, depth=6)
    roots = np.arange(5)
    rule = RULES[name]
    if isinstance(rule, Gumbel):
        rule = replace(rule, scale=0.0)
    every = search(model, model.root(roots), rng=0, simulations=40, select=rule)
    for r in roots:
        alone = search(model, model.root(roots[r : r + 1]), rng=1, simulations=40, select=rule)
        for field in ("action", "policy", "value", "action_values", "visits"):
            np.testing.assert_array_equal(getattr(alone, field)[0], getattr(every, field)[r])
        np.testing.assert_array_equal(alone.tree.arrays.nodes[0]["mean"], every.tree.arrays.nodes[r]["mean"])
        assert alone.tree.show(depth=9, most=9) == every.tree.show(int(r), depth=9, most=9)


ALONE = """
import numpy as np
from tests.planning.random_trees import Explicit, random_layers
from sightline.planning.rules import Noise, PUCT
from sightline.planning.search import search
for seed in range(3):
    model, chance = random_layers(seed, players=2), Explicit(random_layers(seed, outcomes=2))
    results = random_layers(seed, players=2, results=True)
    for select in ("uct", "puct", "gumbel", PUCT(first_play="parent")):
        noise = Noise() if select == "puct" else None
        for one, options in ((model, {"noise": noise}), (chance, {"leaves": 3}), (results, {"solver": True}),
                             (model, {"normalise": "siblings"}), (model, {"outcomes": "many", "normalise": "tree"})):
            root, options = one.root(np.arange(3)), {"select": select, "rng": seed, **options}
            found = search(one, root, simulations=25, **options)
            found = search(one, root, simulations=5, tree=found.tree, **options)
            print(found.tree.arrays.edges["visits"].tobytes().hex(), found.tree.arrays.nodes["mean"].tobytes().hex())
"""


def test_without_numba_it_is_the_same_tree_bit_for_bit() -> None:
    if not jit.COMPILED:
        pytest.skip("Numba is not installed: there is nothing to compare with")
    found = [
        subprocess.run(
            [sys.executable, "-c", ALONE], check=True, capture_output=True, text=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": os.getcwd()},
        ).stdout
        for disabled in ("0", "1")
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) > 100_000


@pytest.mark.parametrize("name", ["uct", "puct"])
@pytest.mark.parametrize("kind", ["one", "two", "two-discounted", "one-chance", "two-chance", "one-many", "two-many"])
def test_the_search_comes_to_the_exact_values(name: Any, kind: str) -> None:
    stochastic, roots = "chance" in kind or "many" in kind, np.arange(6)
    layers = random_layers(
        7, players=2 if "two" in kind else 1, gamma=0.8 if "discounted" in kind else 1.0, depth=3, states=6,
        outcomes=2 if stochastic else 1, guess=1.0,
    )  # fmt: skip
    model: Any = Explicit(layers) if "chance" in kind else layers
    exact = layers.exact()[roots]
    best, error, regret = exact.argmax(1), {}, {}
    for simulations in (250, 3000):
        found = search(
            model, model.root(roots), rng=0, simulations=simulations, select=name,
            outcomes="many" if "many" in kind else None,
        )  # fmt: skip
        error[simulations] = np.abs(found.action_values[roots, best] - exact.max(1)).mean()
        regret[simulations] = (exact.max(1) - exact[roots, found.action]).mean()
    assert error[3000] < min(0.75 * error[250], 0.1 if stochastic else 0.06), (error, regret)
    assert regret[3000] < 0.03, (error, regret)


def test_gumbel_takes_the_best_action_where_values_are_right() -> None:
    regret = []
    for seed in range(6):
        layers = random_layers(seed, players=2, depth=4, states=6)
        exact = layers.exact()
        model = replace(layers, value=exact.max(1).astype(np.float32), logits=np.where(exact > -np.inf, 0, exact))
        for simulations in (3, 24):
            found = search(model, model.root(np.arange(6)), rng=seed, simulations=simulations, select=Gumbel(scale=0.0))
            regret.append(exact[:6].max(1) - exact[np.arange(6), found.action])
    assert np.max(regret[::2]) < 1e-6, "each action was tried once"
    assert np.mean(regret[1::2]) < 0.03


def test_one_sample_of_every_edge_would_not() -> None:
    """An action that is worth 0 on average: a search that keeps the first sample believes in 1 or -1."""
    model = Layers(
        np.array([[[1, 1]], [[1, 1]]]), np.full((2, 1, 2), 0.5), np.array([[[1.0, -1.0]]] * 2), np.zeros((2, 1, 2)),
        np.zeros((2, 1), np.float32), np.zeros(2, np.float32),
    )  # fmt: skip
    value = {
        kept: search(model, model.root(np.array([0])), rng=0, simulations=400, outcomes=kept).action_values[0, 0]  # type: ignore[arg-type]
        for kept in ("one", "many")
    }
    assert abs(value["one"]) == 1.0
    assert abs(value["many"]) < 0.5


def test_a_model_says_itself_that_it_is_stochastic() -> None:
    class Random(Layers):
        stochastic = True

    model = random_layers(1, outcomes=3)
    itself = Random(**vars(model))
    root = model.root(np.array([0]))
    given = search(model, root, rng=2, simulations=50, outcomes="many")
    found = search(itself, root, rng=2, simulations=50)
    np.testing.assert_array_equal(found.tree.arrays.nodes["mean"], given.tree.arrays.nodes["mean"])


class Counting:
    """A model that counts how often it steps, and never ends."""

    num_actions = 2

    def __init__(self) -> None:
        self.calls: list[int] = []

    def root(self, observation: np.ndarray) -> Step:
        count = len(observation)
        zeros = np.zeros(count, np.float32)
        return Step(observation, zeros, zeros + 1, np.tile(np.array([4.0, 0.0], np.float32), (count, 1)), zeros)

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        self.calls.append(len(state))
        return self.root(state)._replace(discount=np.full(len(state), -1.0, np.float32))


def test_one_call_of_the_model_for_one_simulation_of_all() -> None:
    model = Counting()
    search(model, model.root(np.arange(6)), rng=0, simulations=30)
    assert model.calls == [6] * 30
    model.calls.clear()
    found = search(model, model.root(np.arange(6)), rng=0, simulations=30, leaves=4)
    assert len(model.calls) == 8
    assert found.visits.sum(1).tolist() == [30] * 6
    assert found.simulations == 30


def test_a_game_without_an_end_is_a_deep_tree() -> None:
    model = Counting()
    found = search(model, model.root(np.arange(1)), rng=0, simulations=1500, select=PUCT(c=0.0, first_play="lowest"))
    assert found.line.shape[1] > 1000


@pytest.mark.parametrize("name", ["uct", "puct", "gumbel"])
def test_leaves_of_one_root_fill_a_batch(name: Any) -> None:
    for seed in range(3):
        model = random_layers(seed, players=2, depth=6, actions=4, ends=0.0)
        found = search(model, model.root(np.array([0])), rng=0, simulations=400, select=name, leaves=8)
        one = search(model, model.root(np.array([0])), rng=0, simulations=400, select=name)
        a = found.tree.arrays
        assert not a.edges["pending"].any(), "nothing waits when the search is over"
        assert a.nodes["arrivals"][0, 0] == 401
        inner = (a.nodes["kind"][0] == 1) & (a.nodes["arrivals"][0] > 0)
        own = a.nodes["arrivals"][0] - a.edges["visits"][0].sum(1)
        assert (own[inner] >= 1).all()
        assert own[inner].sum() < 500, "few leaves are the same"
        if name != "gumbel":  # whose visits at the root are no average of good ones
            np.testing.assert_allclose(found.value, one.value, atol=0.15)
    model = random_layers(0, players=2, depth=6, actions=4, ends=0.0, illegal=0.0)
    first = search(model, model.root(np.array([0])), rng=0, simulations=4, select="uct", leaves=4)
    assert first.visits.tolist() == [[1, 1, 1, 1]], "a pending slot counts as visited"


@pytest.mark.parametrize("name", ["uct", "puct", "gumbel"])
def test_illegal_actions_are_nowhere(name: Any) -> None:
    for seed in range(6):
        model = random_layers(seed, players=2, illegal=0.6, actions=5)
        found = search(model, model.root(np.arange(4)), rng=seed, simulations=60, select=name, leaves=1 + seed % 3)
        a = found.tree.arrays
        seen = a.edges["visits"] > 0
        assert not (seen & (a.edges["prior"] == 0)).any()
        kept = np.asarray(found.tree.states).reshape(a.nodes.shape)
        inner = (a.nodes["kind"] == 1) & (a.nodes["arrivals"] > 0)
        np.testing.assert_array_equal((a.edges["prior"] > 0)[inner], (model.logits > -np.inf)[kept[inner]])
        assert (model.logits[np.arange(4), found.action] > -np.inf).all()
        assert (found.policy[model.logits[:4] == -np.inf] == 0).all()


def test_noise_reaches_legal_priors_at_the_root_and_leaves_no_trace() -> None:
    model = random_layers(2, illegal=0.5, actions=5)
    root = model.root(np.arange(3))
    plain = search(model, root, rng=0, simulations=50)
    noisy = search(model, root, rng=0, simulations=50, noise=Noise(0.3, 1.0))
    assert (plain.visits != noisy.visits).any()
    np.testing.assert_array_equal(plain.tree.arrays.edges["prior"][:, 0], noisy.tree.arrays.edges["prior"][:, 0])
    again = search(model, root, rng=0, simulations=50, noise=Noise(0.3, 1.0))
    np.testing.assert_array_equal(noisy.visits, again.visits)
    prior = plain.tree.arrays.edges["prior"][:, 0]
    mixes = np.stack([Noise(0.5, 0.25).mixed(prior, np.random.default_rng(seed)) for seed in range(3000)])
    np.testing.assert_allclose(mixes.sum(2), 1, atol=1e-9)
    assert (mixes[:, prior == 0] == 0).all()
    legal = prior > 0
    wanted = 0.75 * prior + 0.25 * legal / legal.sum(1, keepdims=True)
    np.testing.assert_allclose(mixes.mean(0), wanted, atol=0.01)
    n = legal.sum(1)[0]  # the variance of Dirichlet(0.5, ...): p (1 - p) / (n / 2 + 1)
    np.testing.assert_allclose(mixes[:, 0][:, legal[0]].var(0), 0.25**2 * (1 / n) * (1 - 1 / n) / (n / 2 + 1), rtol=0.1)


def test_a_temperature_draws_by_visits() -> None:
    model = random_layers(5, illegal=0.0, depth=2)
    root = model.root(np.zeros(4000, np.int64))
    found = search(model, root, rng=0, simulations=12, temperature=2.0)
    weight = found.visits[0] ** 0.5
    np.testing.assert_allclose(np.bincount(found.action, minlength=3) / 4000, weight / weight.sum(), atol=0.03)
    greedy = search(model, root, rng=0, simulations=12)
    assert set(greedy.action) == {int(found.visits[0].argmax())}


def test_a_budget_of_seconds_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Counting()
    monkeypatch.setattr(searching, "ROOM", 3)
    search(model, model.root(np.arange(2)), rng=0, simulations=2)
    before = time.monotonic()
    found = search(model, model.root(np.arange(2)), rng=0, seconds=0.3)
    assert 0.3 <= time.monotonic() - before < 3
    assert found.simulations == len(model.calls) - 2 > 7
    assert found.visits.sum(1).tolist() == [found.simulations] * 2
    assert search(model, model.root(np.arange(2)), rng=0, seconds=1e-9).simulations == 1
    assert search(model, model.root(np.arange(2)), rng=0, seconds=60.0, simulations=5).simulations == 5


def test_the_improved_policy_is_that_of_its_paper() -> None:
    """Equation 11 by hand, from the search's own visits and values."""
    model = random_layers(4, illegal=0.0)
    found: Found = search(
        model, model.root(np.array([0])), rng=1, simulations=2, select=Gumbel(considered=2, scale=0.0)
    )
    visits, q, logits = found.visits[0], found.action_values[0], model.logits[0].astype(float)
    assert sorted(visits) == [0, 1, 1]
    prior, seen = np.exp(logits) / np.exp(logits).sum(), visits > 0
    mixed = (model.value[0] + 2 * (prior[seen] @ q[seen]) / prior[seen].sum()) / 3
    full = np.where(seen, q, mixed)
    sigma = (50 + 1) * 0.1 * (full - full.min()) / (full.max() - full.min())
    improved = np.exp(logits + sigma)
    np.testing.assert_allclose(found.policy[0], improved / improved.sum(), atol=1e-6)
    assert found.action[0] == np.where(seen, logits + sigma, -np.inf).argmax()
