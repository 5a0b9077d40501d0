"""The same search as a reader would write it: one root, node objects, everything computed anew where it is needed.

The oracle of `sightline.planning.search`: visit counts must be equal in every node. Means are sums divided by counts,
policies are softmax of logits, ways up are lists.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sightline.planning.model import Step
from sightline.planning.rules import PUCT, UCT, Gumbel, Widening

GOLDEN = 0.6180339887498949


@dataclass
class Node:
    step: Step
    """Of one place."""
    chance: np.ndarray | None
    offset: float
    returns: list[float] = field(default_factory=list)
    """Its own evaluation first."""
    children: dict[int, "Node | Samples"] = field(default_factory=dict)
    proven: float | None = None

    @property
    def over(self) -> bool:
        return float(self.step.discount[0]) == 0

    @property
    def value(self) -> float:
        return 0.0 if self.over else float(self.step.value[0])

    def logits(self) -> np.ndarray:
        return self.step.logits[0].astype(float)

    def is_like(self, other: "Node") -> bool:
        return all(
            np.array_equal(getattr(self.step, one), getattr(other.step, one)) for one in ("state", "reward", "discount")
        )

    def legal(self) -> list[int]:
        return [a for a, logit in enumerate(self.step.logits[0]) if logit > -np.inf]

    def priors(self) -> np.ndarray:
        weight = np.exp(self.logits() - self.logits().max())
        return weight / weight.sum()

    def visits(self, a: int) -> int:
        return len(self.children[a].returns) if a in self.children else 0

    def q(self, a: int) -> float:
        child = self.children[a]
        if isinstance(child, Samples):
            return float(np.mean(child.returns))
        back = child.proven if child.proven is not None else float(np.mean(child.returns))
        return float(child.step.reward[0]) + float(child.step.discount[0]) * back


@dataclass
class Samples:
    """The outcomes of an edge."""

    nodes: list[Node] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)


@dataclass
class SlowSearch:
    model: Any
    select: UCT | PUCT | Gumbel
    normalise: str = "no"
    solver: bool = False
    many: bool = False
    widening: Widening = field(default_factory=Widening)

    def run(self, root: Step, simulations: int, rng: np.random.Generator) -> Node:
        self.rng, self.seen_q = rng, (math.inf, -math.inf)
        top = self.node(root)
        top.returns.append(top.value)
        if isinstance(self.select, Gumbel):
            noise = rng.gumbel(size=(1, self.model.num_actions))[0] if self.select.scale else 0.0
            self.score = self.select.scale * noise + np.log(np.maximum(top.priors(), 1e-300))
            self.plan = halving(min(self.select.considered, len(top.legal())), simulations)
        for number in range(simulations):
            if top.proven is not None:
                break
            self.simulate(top, number)
        return top

    def node(self, step: Step) -> Node:
        chance, offset = None, 0.0
        if hasattr(self.model, "chance"):
            row = self.model.chance(step.state)[0]
            chance, offset = (row if row.sum() > 0 else None), float(self.rng.random(1)[0])
        node = Node(step, chance, offset)
        if self.solver and node.over:
            node.proven = 0.0
        return node

    def simulate(self, top: Node, number: int) -> None:
        way: list[tuple[Node, int, Node]] = []
        node = top
        while True:
            if node.over or node.proven is not None:
                break
            a = self.choose(node, top, number)
            known = a in node.children
            if not known:
                node.children[a] = Samples() if self.many else None  # type: ignore[assignment]
            child = node.children[a]
            if isinstance(child, Samples):
                allowed = max(
                    1, math.ceil(self.widening.outcome_factor * len(child.returns) ** self.widening.outcome_power)
                )
                known = sum(child.weights) >= allowed
                if known:
                    ratio = [len(one.returns) / weight for one, weight in zip(child.nodes, child.weights, strict=True)]
                    after = child.nodes[ratio.index(min(ratio))]
                else:
                    after = self.arrive(node, a)
                    twins = [i for i, one in enumerate(child.nodes) if one.is_like(after)]
                    if twins:
                        child.weights[twins[0]] += 1
                        after = child.nodes[twins[0]]
                    else:
                        child.nodes.append(after)
                        child.weights.append(1)
            elif known:
                after = child
            else:
                after = node.children[a] = self.arrive(node, a)
            way.append((node, a, after))
            node = after
            if not known:
                break
        back = node.value if node.proven is None else node.proven
        if self.many and node.returns and not node.over:
            back = float(np.mean(node.returns))
        node.returns.append(back)
        for before, a, after in reversed(way):
            back = float(after.step.reward[0]) + float(after.step.discount[0]) * back
            edge = before.children[a]
            if isinstance(edge, Samples):
                edge.returns.append(back)
            if self.solver and after.proven is not None:
                self.prove(before)
                if before.proven is not None:
                    back = before.proven
            if before.chance is None:
                low, high = self.seen_q
                self.seen_q = min(low, before.q(a)), max(high, before.q(a))
            before.returns.append(back)

    def arrive(self, node: Node, a: int) -> Node:
        return self.node(self.model.step(node.step.state, np.array([a]), self.rng))

    def prove(self, node: Node) -> None:
        slots = node.legal() if node.chance is None else [k for k, p in enumerate(node.chance) if p > 0]
        proven = [a for a in slots if a in node.children and node.children[a].proven is not None]
        if node.chance is None and any(node.q(a) >= 1 - 1e-9 for a in proven):
            node.proven = max(node.q(a) for a in proven)
        elif len(proven) == len(slots):
            values = [node.q(a) for a in slots]
            node.proven = max(values) if node.chance is None else float(np.dot([node.chance[k] for k in slots], values))

    def choose(self, node: Node, top: Node, number: int) -> int:
        if node.chance is not None:
            n = sum(len(child.returns) for child in node.children.values())
            return int((np.cumsum(node.chance) > (node.offset + n * GOLDEN) % 1.0).argmax())
        slots = node.legal()
        if self.solver:
            slots = [
                a
                for a in slots
                if not (a in node.children and node.children[a].proven is not None and node.q(a) <= -1 + 1e-9)
            ]
        if isinstance(self.select, Gumbel):
            return self.at_root(node, slots, number) if node is top else self.inside(node, slots)
        if isinstance(self.select, UCT):
            new = [a for a in slots if not node.visits(a)]
            if new:
                return max(new, key=lambda a: node.priors()[a])
            log = math.log(len(node.returns))
            return max(
                slots, key=lambda a: self.scaled(node, node.q(a)) + self.select.c * math.sqrt(log / node.visits(a))
            )
        n, prior = len(node.returns), node.priors()
        c = self.select.c + math.log((n + self.select.base + 1) / self.select.base)

        def score(a: int) -> float:
            worth = self.scaled(node, node.q(a)) if node.visits(a) else self.first(node)
            return worth + c * prior[a] * math.sqrt(n) / (1 + node.visits(a))

        return max(slots, key=score)

    def first(self, node: Node) -> float:
        raw = self.range(node) is None
        if self.select.first_play == "lowest":
            return -1.0 if raw else 0.0
        if self.select.first_play == "zero":
            return 0.0 if raw else min(max(self.scaled(node, 0.0), 0.0), 1.0)
        seen = sum(node.priors()[a] for a in node.children)
        return self.scaled(node, float(np.mean(node.returns))) - self.select.reduction * math.sqrt(seen)

    def range(self, node: Node) -> tuple[float, float] | None:
        low, high = self.seen_q
        if self.normalise == "siblings":
            all_q = [float(np.mean(node.returns)), *(node.q(a) for a in node.children)]
            return min(all_q), max(all_q)
        if self.normalise == "no" or (self.normalise == "auto" and low >= -1.000001 and high <= 1.000001):
            return None
        return (low, high) if low <= high else (0.0, 1.0)

    def scaled(self, node: Node, q: float) -> float:
        found = self.range(node)
        return q if found is None else (q - found[0]) / max(found[1] - found[0], 1e-8)

    def sigma(self, node: Node) -> np.ndarray:
        """Of all actions; nan where illegal."""
        q, legal, prior = np.full(self.model.num_actions, np.nan), node.legal(), node.priors()
        seen = [a for a in legal if node.visits(a)]
        mixed = node.value
        if seen:
            total = sum(node.visits(a) for a in seen)
            mixed = (mixed + total * sum(prior[a] * node.q(a) for a in seen) / prior[seen].sum()) / (1 + total)
        for a in legal:
            q[a] = node.q(a) if node.visits(a) else mixed
        most = max(node.visits(a) for a in legal)
        scaled = (q - np.nanmin(q)) / max(np.nanmax(q) - np.nanmin(q), 1e-8)
        return (self.select.visit_offset + most) * self.select.value_scale * scaled

    def inside(self, node: Node, slots: list[int]) -> int:
        wanted = np.where(np.isnan(self.sigma(node)), -np.inf, node.logits() + np.nan_to_num(self.sigma(node)))
        policy = np.exp(wanted - wanted.max())
        policy /= policy.sum()
        total = sum(node.visits(a) for a in node.children)
        return max(slots, key=lambda a: policy[a] - node.visits(a) / (1 + total))

    def at_root(self, node: Node, slots: list[int], number: int) -> int:
        score = self.score + self.sigma(node)
        good = [a for a in slots if node.visits(a) == self.plan[number]]
        return max(good or slots, key=lambda a: score[a])


def halving(considered: int, simulations: int) -> list[int]:
    """Visits that the action of each simulation has before, in phases of equal budgets."""
    if considered == 1:
        return list(range(simulations))
    plan: list[int] = []
    visits = dict.fromkeys(range(considered), 0)
    left = considered
    while len(plan) < simulations:
        each = max(1, simulations // (math.ceil(math.log2(considered)) * left))
        for _ in range(each):
            for a in range(left):
                plan.append(visits[a])
                visits[a] += 1
        left = max(2, left // 2)
    return plan[:simulations]
