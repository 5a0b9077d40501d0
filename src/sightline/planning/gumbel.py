"""Gumbel's search: a policy that is better than the network's for sure, also with few simulations.

Danihelka et al. (2022), "Policy improvement by planning with Gumbel". At the root m actions are drawn without
repetition by their priors (noise from Gumbel's distribution, added to the logarithms) and sequential halving shares the
simulations out among them (Karnin et al., 2013). Below, the slot whose visits are furthest behind the improved policy

    p' = softmax(ln p + sigma(q)),   sigma(q) = (offset + max n) scale s(q)                            (equations 8, 11)

where q is completed: a slot without a visit is worth the mixed value of its place (appendix D),

    (value + N sum p q / sum p) / (N + 1)                       sums over the slots that were visited, N their visits

and s brings the completed q of a place to [0, 1]. An illegal slot has no part in any of these.

It relies on the values that it is given: below the root nothing is tried for its own sake, so that an action whose
first evaluation was far too low may never be looked at again, however many simulations there are. UCT and PUCT come to
the exact values in the end; this comes to a good action soon, with a network that knows something.

Left out: q without that scaling, and without completion.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Int

from sightline.planning.jit import compiled

SURE = 1 - 1e-9  # a proven win, and with a minus a proven defeat


@compiled
def lost(nodes: Any, one: Any) -> Any:
    """Whether a slot is a proven defeat, which no rule goes to again."""
    return one["child"] >= 0 and nodes[one["child"]]["solved"] and one["q"] <= -SURE


@compiled
def completion(rule: Any, here: Any, slots: Any) -> Any:
    """The value of slots without a visit, high, span and factor: sigma(q) = factor (q - high) / span, at most 0."""
    visits, most, prior, weighted, low, high, unseen = 0, 0, 0.0, 0.0, math.inf, -math.inf, False
    for slot in range(len(slots)):
        p, n, q = slots[slot]["prior"], slots[slot]["visits"], slots[slot]["q"]
        if p > 0.0 and n > 0:
            visits, most = visits + n, max(most, n)
            prior, weighted = prior + p, weighted + p * q
            low, high = min(low, q), max(high, q)
        elif p > 0.0:
            unseen = True
    mixed = here["value"]
    if visits > 0:
        mixed = (mixed + visits * (weighted / prior)) / (visits + 1)
    if unseen:
        low, high = min(low, mixed), max(high, mixed)
    return mixed, high, max(high - low, 1e-8), (rule.visit_offset + most) * rule.value_scale


@compiled
def improve(rule: Any, nodes: Any, here: Any, slots: Any) -> Any:
    """The slot that is furthest behind the improved policy."""
    mixed, high, span, factor = completion(rule, here, slots)
    total, visits, best, top = 0.0, 0, -1, -math.inf
    for slot in range(len(slots)):
        one = slots[slot]
        visits += one["visits"] + one["pending"]
        if one["prior"] > 0.0:
            q = one["q"] if one["visits"] > 0 else mixed
            total += one["prior"] * math.exp(factor * (q - high) / span)
    for slot in range(len(slots)):
        one = slots[slot]
        if one["prior"] > 0.0:
            q = one["q"] if one["visits"] > 0 else mixed
            score = one["prior"] * math.exp(factor * (q - high) / span) / total
            score -= (one["visits"] + one["pending"]) / (1 + visits)
            if score > top and not (rule.solver and lost(nodes, one)):
                best, top = slot, score
    return best


@compiled
def halve(rule: Any, given: Any, wanted: Any, nodes: Any, here: Any, slots: Any) -> Any:
    """The root's slot of this simulation: of those that were visited as often as is wanted now, the best score."""
    mixed, high, span, factor = completion(rule, here, slots)
    done = 0
    for slot in range(len(slots)):
        done += slots[slot]["visits"] + slots[slot]["pending"] - given[slot]["begun"]
    now = wanted[min(done, len(wanted) - 1)]
    best, top, other, second = -1, -math.inf, -1, -math.inf
    for slot in range(len(slots)):
        one = slots[slot]
        if one["prior"] > 0.0 and not (rule.solver and lost(nodes, one)):
            q = one["q"] if one["visits"] > 0 else mixed
            score = given[slot]["score"] + factor * (q - high) / span
            if one["visits"] + one["pending"] - given[slot]["begun"] == now:
                if score > top:
                    best, top = slot, score
            elif score > second:
                other, second = slot, score
    return best if best >= 0 else other


@compiled
def decide(tree: Any, rule: Any, halving: Any, action: Any, policy: Any) -> None:
    """The action of every root, the best score of those visited most in this search, and the improved policy."""
    for r in range(len(tree.roots)):
        slots, given = tree.edges[r, 0], halving.slots[r]
        mixed, high, span, factor = completion(rule, tree.nodes[r, 0], slots)
        most, total, top = 0, 0.0, -math.inf
        for slot in range(len(slots)):
            if not lost(tree.nodes[r], slots[slot]):
                most = max(most, slots[slot]["visits"] - given[slot]["begun"])
        for slot in range(len(slots)):
            one = slots[slot]
            policy[r, slot] = 0.0
            if one["prior"] > 0.0:
                q = one["q"] if one["visits"] > 0 else mixed
                policy[r, slot] = one["prior"] * math.exp(factor * (q - high) / span)
                total += policy[r, slot]
                score = given[slot]["score"] + factor * (q - high) / span
                if one["visits"] - given[slot]["begun"] == most and score > top and not lost(tree.nodes[r], one):
                    action[r], top = slot, score
        for slot in range(len(slots)):
            policy[r, slot] /= total


def considered_visits(considered: int, simulations: int) -> Int[np.ndarray, " simulations"]:
    """How often the action of each simulation has been visited before, by sequential halving."""
    if considered <= 1:
        return np.arange(simulations, dtype=np.int32)
    rounds, visits, left = math.ceil(math.log2(considered)), 0, considered
    found: list[int] = []
    while len(found) < simulations:
        for _ in range(max(1, int(simulations / (rounds * left)))):
            found += [visits] * left
            visits += 1
        left = max(2, left // 2)
    return np.array(found[:simulations], np.int32)
