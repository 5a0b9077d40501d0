"""Trees that mctx grew from fixed priors and values, node by node; the file says how they were made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.planning.model import Step
from sightline.planning.rules import PUCT, Gumbel
from sightline.planning.search import search

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "mctx_trees.json").read_text())


class Table:
    """The model of the file."""

    num_actions = 4

    def __init__(self) -> None:
        self.table = {name: np.array(one) for name, one in GOLDEN["table"].items()}

    def at(self, state: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> Step:
        one = [
            each.astype(np.float32)
            for each in (reward, discount, self.table["logits"][state], self.table["value"][state])
        ]
        return Step(state, one[0], one[1], one[2], one[3])

    def root(self, observation: np.ndarray) -> Step:
        return self.at(observation, np.zeros(len(observation)), np.ones(len(observation)))

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        edge = (state, action)
        return self.at(self.table["to"][edge], self.table["reward"][edge], self.table["discount"][edge])


@pytest.mark.parametrize("tree", GOLDEN["trees"], ids=lambda tree: f"{tree['policy']}-{tree.get('considered', 'all')}")
def test_every_node_is_mctxs(tree: dict[str, Any]) -> None:
    model = Table()
    root = model.root(np.arange(3))
    root = root._replace(logits=np.where(np.array(tree["illegal"]) > 0, -np.inf, root.logits).astype(np.float32))
    rule = Gumbel(tree["considered"], 0.0) if tree["policy"] == "gumbel" else PUCT(first_play="lowest")
    found = search(model, root, rng=0, simulations=GOLDEN["simulations"], select=rule, normalise="siblings")
    arrays = found.tree.arrays
    np.testing.assert_array_equal(arrays.edges["child"], tree["child"])
    np.testing.assert_array_equal(arrays.edges["visits"], tree["visits"])
    np.testing.assert_allclose(arrays.nodes["mean"], tree["mean"], atol=2e-5)
    np.testing.assert_allclose(found.policy, tree["weights"], atol=2e-5)
    if tree["policy"] == "gumbel":
        np.testing.assert_array_equal(found.action, tree["action"])
