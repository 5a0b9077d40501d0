"""How a search goes down a tree, one root at a time, in scalar loops that `jit.py` compiles; `backup.py` is the way up.

At a place where somebody moves, the slot (the number of an action) of the best score, the first of equals:

    UCT   (Kocsis & Szepesvari, 2006):  s(q) + c sqrt(ln N / n), those not visited first, in order of their priors
    PUCT  (Silver et al., 2018):        s(q) + (c + ln((N + base + 1) / base)) p sqrt(N) / (1 + n)
    Gumbel (Danihelka et al., 2022):    `gumbel.py`

with n the visits of the slot, N those of the place, its own evaluation among them, p the prior, and s what brings q to
a known scale: as it is; by the lowest and the highest of the tree (MuZero, Schrittwieser et al., 2020, appendix B); or
of the place and its slots alone. Where nobody moves, the outcome of the cumulated probability

    frac(u + n phi),  u uniform, drawn once for the place; phi the golden ratio

so that every visit by itself is a draw with the true probabilities and n visits miss them by about ln n / n, not by
1 / sqrt(n). An edge that keeps several sampled outcomes takes a new one as long as it has fewer than factor count^power
(Couetoux et al., 2011), else the one seen least for how often it was sampled: every sample weighs the same.

A slot that waits for its evaluation counts as visited and lost (virtual loss), so that one root can fill a batch.

Compiled code may call `descend` itself. Left out: transpositions, and any sharing between roots.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from sightline.planning.gumbel import halve, improve, lost
from sightline.planning.jit import compiled

BY_UCT, BY_PUCT, BY_GUMBEL = range(3)
RAW, AUTO, TREE, SIBLINGS = range(4)
ZERO, PARENT, LOWEST = range(3)
WAITING, DECISION, CHANCE, OUTCOMES, OVER = range(5)
GOLDEN = 0.6180339887498949
SMALLEST = 1e-30  # of a legal action's prior; 0 is an illegal one


class Rule(NamedTuple):
    """All settings as numbers, for compiled code."""

    select: int
    c: float
    base: float
    first_play: int
    reduction: float
    normalise: int
    value_scale: float
    visit_offset: float
    open_factor: float  # of slots where actions are proposed; 0: all are open
    open_power: float
    outcome_factor: float  # of sampled outcomes of an edge; 0: an edge has one
    outcome_power: float
    solver: bool
    leaves: int  # of one root in one call


class Halving(NamedTuple):
    """What Gumbel's search needs at its root; of no length for the others."""

    slots: np.ndarray
    """[b, a] of `score`, noise and the logarithm of the prior, and `begun`, the visits before this search."""
    wanted: np.ndarray
    """[b, simulations]: how often the slot of each simulation has been visited in it."""


@compiled
def widened(factor: float, power: float, count: Any) -> Any:
    """How many a place or an edge may have after so many visits, at least 1."""
    return max(1, math.ceil(factor * math.pow(float(count), power)))


@compiled
def scale_of(rule: Any, root: Any, here: Any, slots: Any) -> Any:
    """Shift, span and lowest: s(q) = (q - shift) / span, whose lowest value is the last."""
    if rule.normalise == SIBLINGS:
        low = high = here["mean"]
        for slot in range(len(slots)):
            if slots[slot]["visits"] > 0:
                low, high = min(low, slots[slot]["q"]), max(high, slots[slot]["q"])
        return low, max(high - low, 1e-8), 0.0
    low, high = root["low"], root["high"]
    known = low >= -1.000001 and high <= 1.000001
    if rule.normalise == RAW or (rule.normalise == AUTO and known):
        return 0.0, 1.0, -1.0
    if low > high:  # nothing was visited yet
        return 0.0, 1.0, 0.0
    return low, max(high - low, 1e-8), 0.0


@compiled
def _uct(rule: Any, root: Any, nodes: Any, here: Any, slots: Any) -> Any:
    total, first, prior = here["arrivals"], -1, 0.0
    for slot in range(len(slots)):
        one = slots[slot]
        total += one["pending"]
        if one["visits"] + one["pending"] == 0 and one["prior"] > prior:
            first, prior = slot, one["prior"]
    if first >= 0:
        return first
    shift, span, lowest = scale_of(rule, root, here, slots)
    log, best, top = math.log(float(total)), -1, -math.inf
    for slot in range(len(slots)):
        one = slots[slot]
        if one["prior"] == 0.0 or (rule.solver and lost(nodes, one)):
            continue
        n, score = one["visits"] + one["pending"], (one["q"] - shift) / span
        if one["pending"] > 0:
            score = (one["visits"] * score + one["pending"] * lowest) / n
        score += rule.c * math.sqrt(log / n)
        if score > top:
            best, top = slot, score
    return best


@compiled
def _puct(rule: Any, root: Any, nodes: Any, here: Any, slots: Any) -> Any:
    shift, span, lowest = scale_of(rule, root, here, slots)
    total, seen = here["arrivals"], 0.0
    for slot in range(len(slots)):
        total += slots[slot]["pending"]
        if slots[slot]["visits"] > 0:
            seen += slots[slot]["prior"]
    unseen = lowest  # what a slot without a visit is worth
    if rule.first_play == PARENT:
        unseen = (here["mean"] - shift) / span - rule.reduction * math.sqrt(seen)
    elif rule.first_play == ZERO:
        unseen = max((0.0 - shift) / span, lowest)
        if lowest == 0.0:  # on the scale from 0 to 1
            unseen = min(unseen, 1.0)
    factor = (rule.c + math.log((total + rule.base + 1.0) / rule.base)) * math.sqrt(float(total))
    best, top = -1, -math.inf
    for slot in range(len(slots)):
        one = slots[slot]
        if one["prior"] == 0.0 or (rule.solver and lost(nodes, one)):
            continue
        n, score = one["visits"] + one["pending"], unseen
        if one["visits"] > 0:
            score = (one["q"] - shift) / span
        if one["pending"] > 0:
            score = (one["visits"] * score + one["pending"] * lowest) / n
        score += factor * one["prior"] / (1 + n)
        if score > top:
            best, top = slot, score
    return best


@compiled
def _choose(tree: Any, rule: Any, halving: Any, r: Any, node: Any) -> Any:
    """The slot to go on with, where somebody moves."""
    here, slots = tree.nodes[r, node], tree.edges[r, node]
    if rule.open_factor > 0.0:
        slots = slots[: widened(rule.open_factor, rule.open_power, here["arrivals"])]
    if rule.select == BY_UCT:
        best = _uct(rule, tree.roots[r], tree.nodes[r], here, slots)
    elif rule.select == BY_PUCT:
        best = _puct(rule, tree.roots[r], tree.nodes[r], here, slots)
    elif node == 0:
        best = halve(rule, halving.slots[r], halving.wanted[r], tree.nodes[r], here, slots)
    else:
        best = improve(rule, tree.nodes[r], here, slots)
    return best


@compiled
def _happen(here: Any, slots: Any) -> Any:
    """The outcome of this visit, where nobody moves."""
    n = 0
    for slot in range(len(slots)):
        n += slots[slot]["visits"] + slots[slot]["pending"]
    left = (here["offset"] + n * GOLDEN) % 1.0
    last = -1
    for slot in range(len(slots)):
        if slots[slot]["prior"] > 0.0:
            last = slot
            left -= slots[slot]["prior"]
            if left < 0.0:
                break
    return last


@compiled
def _append(tree: Any, r: Any, parent: Any, slot: Any) -> Any:
    number = tree.roots[r]["used"]
    tree.roots[r]["used"] += 1
    node = tree.nodes[r, number]
    node["parent"], node["slot"], node["kind"] = parent, slot, WAITING
    return number


@compiled
def _sample(tree: Any, r: Any, edge: Any) -> Any:
    """One more outcome of an edge that keeps several."""
    number = _append(tree, r, edge, tree.nodes[r, edge]["outcomes"])
    tree.nodes[r, number]["sibling"] = tree.edges[r, edge, 0]["child"]
    tree.nodes[r, number]["weight"] = 1
    tree.edges[r, edge, 0]["child"] = number
    tree.nodes[r, edge]["outcomes"] += 1
    return number


@compiled
def _least(tree: Any, r: Any, edge: Any) -> Any:
    """The outcome of an edge that was seen least for its weight, the oldest of equals."""
    best = one = tree.edges[r, edge, 0]["child"]
    while one >= 0:
        this, least = tree.nodes[r, one], tree.nodes[r, best]
        if this["arrivals"] * least["weight"] <= least["arrivals"] * this["weight"]:
            best = one
        one = this["sibling"]
    return best


@compiled
def descend(tree: Any, rule: Any, halving: Any, r: Any) -> Any:
    """From root r to where a simulation ends: the place, and whether it is new and waits for `fill`."""
    node = 0
    while True:
        here = tree.nodes[r, node]
        kind = here["kind"]
        if kind in (OVER, WAITING) or (rule.solver and here["solved"]):
            return node, False
        if kind == OUTCOMES:
            if here["outcomes"] < widened(rule.outcome_factor, rule.outcome_power, here["arrivals"]):
                return _sample(tree, r, node), True
            node = _least(tree, r, node)
            continue
        slot = _happen(here, tree.edges[r, node]) if kind == CHANCE else _choose(tree, rule, halving, r, node)
        edge = tree.edges[r, node, slot]
        if rule.leaves > 1:
            edge["pending"] += 1
        if edge["child"] >= 0:
            node = edge["child"]
            continue
        new = _append(tree, r, node, slot)
        edge["child"] = new
        if rule.outcome_factor > 0.0 and kind == DECISION:
            between = tree.nodes[r, new]
            between["kind"], between["reward"], between["discount"] = OUTCOMES, 0.0, 1.0
            new = _sample(tree, r, new)
        return new, True


@compiled
def select_all(
    tree: Any, rule: Any, halving: Any, leaves: int, reached: Any, origin: Any, slots: Any, places: Any
) -> Any:
    """`leaves` simulations of every root down to where they end.

    Args:
        tree: the arrays of `tree.py`.
        rule: the settings.
        halving: for Gumbel.
        leaves: of every root.
        reached: [b, leaves], filled: where each ends, -1 where nothing is left to find out.
        origin: filled for each new place: from which the model steps, root * capacity + node.
        slots: filled: by which slot.
        places: filled: the new place, root * capacity + node.

    Returns:
        How many are new.
    """
    new, capacity = 0, tree.nodes.shape[1]
    for r in range(tree.nodes.shape[0]):
        for leaf in range(leaves):
            if rule.solver and tree.nodes[r, 0]["solved"]:
                reached[r, leaf] = -1
                continue
            node, fresh = descend(tree, rule, halving, r)
            reached[r, leaf] = node
            if fresh:
                places[new] = r * capacity + node
                if tree.nodes[r, tree.nodes[r, node]["parent"]]["kind"] == OUTCOMES:
                    node = tree.nodes[r, node]["parent"]
                origin[new], slots[new] = r * capacity + tree.nodes[r, node]["parent"], tree.nodes[r, node]["slot"]
                new += 1
    return new
