"""Monte-Carlo tree search over any `Model`, many roots at once: one call of `model.step` for a simulation of all.

    found = search(model, model.root(observation), simulations=64, select="puct", rng=0)
    found.action, found.policy, found.value
    tree = found.tree.advance(found.action)      # what is known below the action that was played
    found = search(model, next_root, simulations=64, rng=1, tree=tree)

Each simulation goes down by a rule (`select.py`: UCT, PUCT, Gumbel) to an action that was not tried, steps there,
evaluates the place (`evaluators.py`, or the model itself), and takes the value back up. No rule knows of players: the
discount of a Step is the only sign. A simulation that ends where all is over steps nowhere.

One root is searched as if it were alone: without noise and chance, many at once give the same trees as one at a time.
Nothing here calls itself: a game that never ends makes a deep tree and no error.

A model whose steps are random needs to say so: with `chance(state)`, which gives the probabilities where nobody moves
(a row of zeros where somebody does, and there the action is the outcome's number), or with `stochastic = True` or
`outcomes="many"`, by which an edge keeps several sampled outcomes; one frozen sample of each would be no average.

Sampled outcomes that are the same, byte for byte, are one.

Left out: more than two players; a limit in depth; transpositions.
"""

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from sightline.planning.backup import backup_all, fill_all, merge_all
from sightline.planning.evaluators import Evaluator
from sightline.planning.gumbel import SURE, considered_visits, decide
from sightline.planning.model import Model, Step
from sightline.planning.rules import PUCT, UCT, Gumbel, Noise, Widening, rule_of
from sightline.planning.select import (
    BY_GUMBEL,
    BY_PUCT,
    CHANCE,
    OUTCOMES,
    SMALLEST,
    Halving,
    Rule,
    select_all,
)
from sightline.planning.states import keys, put, room_for, taken
from sightline.planning.tree import Tree, empty

ROOM = 64  # simulations that there is room for at first, where their number is not known
WRONG = {
    1: "the reward of the step there is not finite",
    2: "the discount of the step there is not in [-1, 1]",
    3: "the value there is not finite",
    4: "a logit there is nan or inf",
    5: "it is not over and has no legal action",
    6: "the probabilities of what happens there are negative or nan",
}


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    action: Shaped[np.ndarray, "b ..."]
    """The number of an action; where they are proposed, the action, [b, d]."""
    policy: Float[np.ndarray, "b a"]
    """How often each was visited, as probabilities; for Gumbel the improved policy."""
    value: Float[np.ndarray, " b"]
    """Of the root, for the one to move."""
    action_values: Float[np.ndarray, "b a"]
    """nan: never visited."""
    visits: Int[np.ndarray, "b a"]
    """The tree's, those before this search among them."""
    line: Int[np.ndarray, "b depth"]
    """The action and what most probably follows it, -1 after its end."""
    simulations: int
    """Of every root in this search."""
    tree: Tree


def search(
    model: Model,
    root: Step,
    *,
    rng: np.random.Generator | int,
    simulations: int | None = None,
    seconds: float | None = None,
    select: Literal["uct", "puct", "gumbel"] | UCT | PUCT | Gumbel = "puct",
    evaluator: Evaluator | None = None,
    noise: Noise | None = None,
    normalise: Literal["no", "auto", "tree", "siblings"] = "auto",
    temperature: float = 0.0,
    tree: Tree | None = None,
    leaves: int = 1,
    outcomes: Literal["one", "many"] | None = None,
    solver: bool = False,
    widening: Widening | None = None,
) -> Found:
    """Plan from b roots.

    Args:
        model: what steps.
        root: where to begin.
        rng: a seed, or what all random numbers are drawn from.
        simulations: of every root; at least one, and of both limits the first that is reached.
        seconds: of the clock.
        select: the rule by which simulations go down.
        evaluator: what fills in logits and values; the model's own if None.
        noise: on the priors of the root (PUCT).
        normalise: how action values come to a scale that the rule knows, for UCT and PUCT: not, as it is right for
            values in [-1, 1]; by the lowest and highest of the tree; so only if one lies outside of [-1, 1]; or by
            those of the place and its actions.
        temperature: the action is drawn by visits^(1 / temperature); 0: the most visited, of equals the better one.
        tree: what is known already, of `Tree.advance`; it stays as it is.
        leaves: simulations of one root that share one call of the model.
        outcomes: how many an edge keeps; None: many if the model says that it is stochastic.
        solver: whether results are proven, where rewards come at the end and a win is 1.
        widening: how many actions and outcomes are open after so many visits.

    Raises:
        ValueError: no budget, options that contradict each other, a root without a legal action, or a model that gives
            what is no number.
    """
    widening = Widening() if widening is None else widening
    rule = rule_of(model, select, normalise, outcomes, solver, leaves, widening)
    _check(rule, simulations, seconds, noise, temperature)
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    run = _Run(model, evaluator, rule, rng)
    now = run.begin(root, tree, widening, simulations)
    clean, a = now.arrays.edges["prior"][:, 0].copy(), now.arrays
    if noise is not None:
        a.edges["prior"][:, 0] = noise.mixed(clean, rng)
    halving = _halving(now, select, simulations, rng) if rule.select == BY_GUMBEL else NO_HALVING
    done, end = 0, None if seconds is None else time.monotonic() + seconds
    while (simulations is None or done < simulations) and (end is None or done == 0 or time.monotonic() < end):
        each = leaves if simulations is None else min(leaves, simulations - done)
        now = run.simulate(now, halving, each)
        done += each
        if solver and now.arrays.nodes["solved"][:, 0].all():
            break
    now.arrays.edges["prior"][:, 0] = clean
    return _found(now, rule, halving, temperature, done, rng)


GIVEN = np.dtype([("score", np.float64), ("begun", np.int32)], align=True)
NO_HALVING = Halving(np.zeros((0, 0), GIVEN), np.zeros((0, 0), np.int32))


@dataclass
class _Run:
    """One search: what it needs at every simulation."""

    model: Model
    evaluator: Evaluator | None
    rule: Rule
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.chance = getattr(self.model, "chance", None)
        self.propose = getattr(self.model, "propose", None)
        self.places = 2 if self.rule.outcome_factor > 0 else 1  # that one simulation may add

    def begin(self, root: Step, tree: Tree | None, widening: Widening, simulations: int | None) -> Tree:
        """The tree with its roots."""
        count = len(root.value)
        if tree is None:
            width = self.model.num_actions
            if self.chance is not None:
                width = max(width, np.shape(self.chance(root.state))[1])
            if self.propose is not None:
                width = widening.actions(256 if simulations is None else simulations)
            room = 1 + self.places * (ROOM if simulations is None else simulations)
            tree = Tree(empty(count, room, width), room_for(root.state, count * room))
        elif tree.states is None or tree.roots != count:
            raise ValueError(
                f"a search of {count} roots goes on with a tree of as many and its states, got one of {tree.roots} "
                f"{'without' if tree.states is None else 'with'} states: give the tree that advance gave"
            )
        else:
            room = int(tree.arrays.roots["used"].max()) + self.places * (ROOM if simulations is None else simulations)
            tree = tree.widened(max(room, tree.capacity))
        if self.propose is not None and tree.actions is None:
            sample = np.asarray(self.propose(root.state, 1, self.rng))
            rows = tree.roots * tree.capacity
            tree = Tree(tree.arrays, tree.states, np.zeros((rows, tree.width, sample.shape[2]), sample.dtype))
        a = tree.arrays
        somebody_moves(tree)
        if self.propose is None:
            legal = np.pad(root.logits > -np.inf, ((0, 0), (0, tree.width - root.logits.shape[1])))
            for r in np.flatnonzero(~(legal.any(1) | np.isnan(root.logits).any(1))):
                raise ValueError(f"root {r} has no legal action, so there is nothing to plan: search only where one is")
            other = (a.roots["used"] > 0) & ((a.edges["prior"][:, 0] > 0) != legal).any(1)
            for r in np.flatnonzero(other):
                raise ValueError(
                    f"the legal actions of root {r} are not those of its tree: advance the tree by what was played, "
                    "and forget it (keep) where another game begins"
                )
        new = np.flatnonzero(a.roots["used"] == 0)
        if len(new):
            a.roots["used"][new], at = 1, new * tree.capacity
            first = Step(
                taken(root.state, new), np.zeros(len(new)), np.ones(len(new)), root.logits[new], root.value[new]
            )
            self.note(tree, at, first)
            reached = np.where(np.isin(np.arange(count), new), 0, -1).astype(np.int64)[:, None]
            backup_all(a, self.rule._replace(leaves=1), 1, reached)
            somebody_moves(tree)
        return tree

    def simulate(self, tree: Tree, halving: Halving, leaves: int) -> Tree:
        """One call of the model: so many simulations of every root."""
        need = int(tree.arrays.roots["used"].max()) + self.places * leaves
        if need > tree.capacity:
            tree = tree.widened(2 * need)
        size = tree.roots * leaves
        reached = np.empty((tree.roots, leaves), np.int64)
        origin, slots, places = np.empty((3, size), np.int64)
        new = select_all(tree.arrays, self.rule, halving, leaves, reached, origin, slots, places)
        if new:
            origin, slots, places = origin[:new], slots[:new], places[:new]
            action: Any = slots if tree.actions is None else tree.actions[origin, slots]
            step = self.note(tree, places, self.model.step(taken(tree.states, origin), action, self.rng))
            if self.rule.outcome_factor > 0:
                merge_all(tree.arrays, places, keys(new, step.state, step.reward, step.discount), reached)
        backup_all(tree.arrays, self.rule, leaves, reached)
        return tree

    def note(self, tree: Tree, places: np.ndarray, step: Step) -> Step:
        """Evaluate new places and write them down."""
        if self.evaluator is not None:
            step = self.evaluated(step)
        count = len(places)
        chance, offset = np.zeros((count, 0)), np.zeros(count)
        if self.chance is not None:
            chance, offset = np.asarray(self.chance(step.state), np.float64), self.rng.random(count)
        if tree.actions is not None and self.propose is not None:
            tree.actions[places] = self.propose(step.state, tree.width, self.rng)
        put(tree.states, places, step.state)
        reward, discount, logits, value = (
            np.asarray(one, np.float64) for one in (step.reward, step.discount, step.logits, step.value)
        )
        wrong = fill_all(tree.arrays, self.rule, places, reward, discount, logits, value, chance, offset)
        if wrong >= 0:
            raise ValueError(_sentence(tree, int(places[wrong // 8]), wrong % 8))
        return step

    def evaluated(self, step: Step) -> Step:
        """By the evaluator, which sees only what is not over and where somebody moves."""
        assert self.evaluator is not None
        on = np.asarray(step.discount) != 0
        if on.all():
            return self.evaluator(self.model, step, self.rng)
        at = np.flatnonzero(on)
        if not len(at):
            return step
        some = Step(*(taken(one, at) for one in step))
        found = self.evaluator(self.model, some, self.rng)
        logits, value = np.array(step.logits, np.float64), np.array(step.value, np.float64)
        logits[at], value[at] = found.logits, found.value
        return step._replace(logits=logits, value=value)


def somebody_moves(tree: Tree) -> None:
    """Refuse a root where there is nothing to decide."""
    for r in np.flatnonzero(tree.arrays.nodes["kind"][:, 0] == CHANCE):
        raise ValueError(f"nobody moves at root {r}: step to an outcome first, and advance the tree by it")


def _halving(tree: Tree, select: Any, simulations: int | None, rng: np.random.Generator) -> Halving:
    assert simulations is not None
    settings = select if isinstance(select, Gumbel) else Gumbel()
    prior = tree.arrays.edges["prior"][:, 0]
    slots = np.zeros(prior.shape, GIVEN)
    slots["begun"] = tree.arrays.edges["visits"][:, 0]
    slots["score"] = np.where(prior > 0, np.log(np.maximum(prior, SMALLEST)), -np.inf)
    if settings.scale > 0:
        slots["score"] += settings.scale * rng.gumbel(size=prior.shape)
    considered = np.minimum((prior > 0).sum(1), settings.considered)
    rows = {int(m): considered_visits(int(m), simulations) for m in np.unique(considered)}
    return Halving(slots, np.stack([rows[int(m)] for m in considered]))


def _found(
    tree: Tree, rule: Rule, halving: Halving, temperature: float, done: int, rng: np.random.Generator
) -> Found:  # fmt: skip
    edges, nodes, rows = tree.arrays.edges[:, 0], tree.arrays.nodes, np.arange(tree.roots)
    visits, q, value, root = edges["visits"], edges["q"], nodes["mean"][:, 0].copy(), nodes[:, 0]
    solved = (edges["child"] >= 0) & nodes["solved"][rows[:, None], edges["child"]]
    # Of slots visited equally often the better one; a proven defeat only if there is nothing else.
    order = np.where(visits > 0, visits - 1e12 * (solved & (q <= -SURE)), -np.inf)
    best = np.where(order == order.max(1, keepdims=True), q, -np.inf).argmax(1)
    policy = visits / np.maximum(visits.sum(1, keepdims=True), 1)
    if rule.select == BY_GUMBEL:
        decide(tree.arrays, rule, halving, best, policy)
    elif temperature > 0:
        weight = np.where(visits > 0, np.log(np.maximum(visits, 1)) / temperature, -np.inf)
        best = (weight + rng.gumbel(size=weight.shape)).argmax(1)
    if root["solved"].any():
        known = np.where(solved, q, -np.inf).argmax(1)
        best = np.where(root["solved"], known, best)
        policy = np.where(root["solved"][:, None], np.eye(tree.width)[best], policy)
        value = np.where(root["solved"], root["exact"], value)
    action = best if tree.actions is None else tree.actions[rows * tree.capacity, best]
    q = np.where(visits > 0, q, np.nan)
    return Found(action, policy, value, q, visits.copy(), tree.line(best), done, tree)


def _sentence(tree: Tree, place: int, wrong: int) -> str:
    """Where something is wrong."""
    r, number = divmod(place, tree.capacity)
    nodes, way = tree.arrays.nodes[r], []
    while number > 0:
        node = nodes[number]
        number = int(node["parent"])
        if nodes[number]["kind"] != OUTCOMES:
            way.append(int(node["slot"]))
    where = f"after the actions {way[::-1]} from root {r}" if way else f"at root {r}"
    return f"a search came to a state {where}, and {WRONG[wrong]}: look at what the model or its evaluator gave there"


def _check(
    rule: Rule, simulations: int | None, seconds: float | None, noise: Noise | None, temperature: float
) -> None:  # fmt: skip
    if simulations is None and seconds is None:
        raise ValueError("a search needs a budget: give simulations, or seconds")
    if (simulations is not None and simulations < 1) or (seconds is not None and not seconds > 0):
        raise ValueError(f"a search needs a budget above 0, got simulations={simulations} and seconds={seconds}")
    if rule.select == BY_GUMBEL and seconds is not None:
        raise ValueError("Gumbel's search shares out a known number of simulations: give simulations without seconds")
    if noise is not None and rule.select != BY_PUCT:
        raise ValueError("noise is mixed into priors, which only select='puct' weighs: leave it out, or choose puct")
    if not temperature >= 0 or (temperature > 0 and rule.select == BY_GUMBEL):
        raise ValueError(
            f"a temperature is 0 or more, and Gumbel's search has its own noise instead, got {temperature} for it"
        )
