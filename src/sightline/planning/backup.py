"""What a search finds at a new place, and how it goes up to the root, in scalar loops that `jit.py` compiles.

One rule for all players, from the place's value on:

    return = reward + discount * return

Proven results (MCTS-Solver; Winands et al., 2008, here with draws and any exact value): a place is proven if one slot
is a proven win (1), or if all slots are proven, and what is proven goes up instead of a mean; `select.py` does not go
to proven defeats (-1) again.

Compiled code may call `fill` and `backup` itself. Left out: other means, such as those weighted by how sure they are.
"""

import math
from typing import Any

from sightline.planning.gumbel import SURE
from sightline.planning.jit import compiled
from sightline.planning.select import CHANCE, DECISION, OUTCOMES, OVER, SMALLEST, WAITING


@compiled
def fill(
    rule: Any, node: Any, slots: Any,
    reward: Any, discount: Any, logits: Any, value: Any, chance: Any, offset: Any,
) -> Any:  # fmt: skip
    """Note what was found at a new place: 0, or the number of what is wrong with it (`search.py` has the sentences)."""
    if not math.isfinite(reward):
        return 1
    if not (abs(discount) <= 1.0):
        return 2
    node["reward"], node["discount"], node["offset"] = reward, discount, offset
    if discount == 0.0:
        node["kind"], node["value"], node["solved"] = OVER, 0.0, rule.solver
        return 0
    if not math.isfinite(value):
        return 3
    node["value"] = value
    total = 0.0
    for slot in range(len(chance)):
        if not (chance[slot] >= 0.0):
            return 6
        total += chance[slot]
    if total > 0.0:
        node["kind"] = CHANCE
        for slot in range(len(chance)):
            slots[slot]["prior"] = chance[slot] / total
        return 0
    node["kind"] = DECISION
    if rule.open_factor > 0.0:
        for slot in range(len(slots)):
            slots[slot]["prior"] = 1.0 / len(slots)
        return 0
    top = -math.inf
    for slot in range(len(logits)):
        if not (logits[slot] < math.inf):
            return 4
        top = max(top, logits[slot])
    if top == -math.inf:
        return 5
    for slot in range(len(logits)):
        if logits[slot] > -math.inf:
            slots[slot]["prior"] = max(SMALLEST, math.exp(logits[slot] - top))
            total += slots[slot]["prior"]
    for slot in range(len(logits)):
        slots[slot]["prior"] /= total
    return 0


@compiled
def _prove(nodes: Any, node: Any, slots: Any) -> None:
    """Prove a place by what follows it, if that is enough."""
    best, mean, every = -math.inf, 0.0, True
    for slot in range(len(slots)):
        one = slots[slot]
        if one["prior"] > 0.0:
            if one["child"] >= 0 and nodes[one["child"]]["solved"]:
                best = max(best, one["q"])
                mean += one["prior"] * one["q"]
            else:
                every = False
    if every or (node["kind"] == DECISION and best >= SURE):
        node["solved"] = True
        node["exact"] = mean if node["kind"] == CHANCE else best


@compiled
def backup(tree: Any, rule: Any, r: Any, number: Any) -> None:
    """One more visit of a place whose value is known, and of all above it."""
    node, root = tree.nodes[r, number], tree.roots[r]
    back = node["exact"] if rule.solver and node["solved"] else node["value"]
    if rule.outcome_factor > 0.0 and node["arrivals"] > 0 and node["kind"] != OVER:
        back = node["mean"]  # an outcome came once more, of which more is known than its evaluation
    while True:
        node["arrivals"] += 1
        node["mean"] += (back - node["mean"]) / node["arrivals"]
        if number == 0:
            return
        number = node["parent"]
        above = tree.nodes[r, number]
        back = node["reward"] + node["discount"] * back
        if above["kind"] != OUTCOMES:
            edge = tree.edges[r, number, node["slot"]]
            edge["visits"] += 1
            edge["q"] += (back - edge["q"]) / edge["visits"]
            if rule.leaves > 1:
                edge["pending"] -= 1
            if rule.solver and node["solved"]:
                edge["q"] = node["reward"] + node["discount"] * node["exact"]
                if not above["solved"]:
                    _prove(tree.nodes[r], above, tree.edges[r, number])
                if above["solved"]:
                    back = above["exact"]
            if above["kind"] == DECISION:
                root["low"] = min(root["low"], edge["q"])
                root["high"] = max(root["high"], edge["q"])
        node = above


@compiled
def fill_all(
    tree: Any, rule: Any, places: Any, reward: Any, discount: Any, logits: Any, value: Any, chance: Any, offset: Any
) -> Any:
    """What was found at every new place: -1, or 8 * its number + what is wrong with it."""
    capacity = tree.nodes.shape[1]
    for i in range(len(places)):
        r, at = places[i] // capacity, places[i] % capacity
        wrong = fill(
            rule,
            tree.nodes[r, at],
            tree.edges[r, at],
            reward[i],
            discount[i],
            logits[i],
            value[i],
            chance[i],
            offset[i],
        )
        if wrong > 0:
            return 8 * i + wrong
    return -1


@compiled
def merge_all(tree: Any, places: Any, keys: Any, reached: Any) -> None:
    """Where a sampled outcome was there before, that one weighs more instead, and the simulation ends at it.

    Args:
        tree: the arrays of `tree.py`.
        places: [n] new places, root * capacity + node.
        keys: [n] of `states.keys`.
        reached: [b, leaves], changed.
    """
    capacity = tree.nodes.shape[1]
    for i in range(len(places)):
        r, number = places[i] // capacity, places[i] % capacity
        node = tree.nodes[r, number]
        node["key"] = keys[i]
        edge, one = node["parent"], node["sibling"]
        if keys[i] == 0 or edge < 0 or tree.nodes[r, edge]["kind"] != OUTCOMES:
            continue
        if tree.edges[r, edge, 0]["child"] != number or number != tree.roots[r]["used"] - 1:
            continue  # others came in the same call
        while one >= 0:
            if tree.nodes[r, one]["key"] == keys[i]:
                tree.nodes[r, one]["weight"] += 1
                tree.edges[r, edge, 0]["child"] = node["sibling"]
                tree.roots[r]["used"] -= 1
                for leaf in range(reached.shape[1]):
                    if reached[r, leaf] == number:
                        reached[r, leaf] = one
                for slot in range(tree.edges.shape[2]):
                    tree.edges[r, number, slot]["prior"] = 0.0
                node["parent"], node["slot"], node["sibling"], node["kind"] = -1, -1, -1, WAITING
                node["solved"], node["key"], node["weight"] = False, 0, 0
                break
            one = tree.nodes[r, one]["sibling"]


@compiled
def backup_all(tree: Any, rule: Any, leaves: int, reached: Any) -> None:
    """Everything that the simulations reached, [b, leaves], up to the roots."""
    for r in range(len(tree.roots)):
        for leaf in range(leaves):
            if reached[r, leaf] >= 0:
                backup(tree, rule, r, reached[r, leaf])
