"""The settings of a search, with the constants of their papers, and the same as numbers for compiled code.

    search(..., select="puct")           search(..., select=PUCT(c=2.0, first_play="parent"))

Left out: a table of exploration constants for known games.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from sightline.planning.select import BY_GUMBEL, BY_PUCT, BY_UCT, SMALLEST, Rule

NORMALISE = ("no", "auto", "tree", "siblings")  # in the order of `select.py`
FIRST_PLAY = ("zero", "parent", "lowest")


@dataclass(frozen=True)
class UCT:
    """Upper confidence bounds; priors only say which action is tried first."""

    c: float = 1.4


@dataclass(frozen=True)
class PUCT:
    """AlphaZero's and MuZero's rule."""

    c: float = 1.25
    base: float = 19652.0
    first_play: Literal["zero", "parent", "lowest"] = "zero"
    """What an action without a visit is worth: 0; as much as its place, less a reduction; as little as any."""
    reduction: float = 0.2
    """Of the place's value, times the root of the sum of the priors of what was visited."""


@dataclass(frozen=True)
class Gumbel:
    """Sequential halving at the root, the improved policy below."""

    considered: int = 16
    """Actions that are drawn at the root."""
    scale: float = 1.0
    """Of the noise; 0: the actions of the largest priors."""
    value_scale: float = 0.1
    visit_offset: float = 50.0


@dataclass(frozen=True)
class Noise:
    """What makes self-play try other moves: a fraction of every prior of the root is Dirichlet's."""

    alpha: float = 0.3
    """About 10 / legal actions."""
    fraction: float = 0.25

    def __post_init__(self) -> None:
        if not self.alpha > 0 or not 0 <= self.fraction <= 1:
            raise ValueError(
                f"noise has an alpha above 0 and a fraction in [0, 1], got {self.alpha} and {self.fraction}: give such"
            )

    def mixed(self, prior: Float[np.ndarray, "b a"], rng: np.random.Generator) -> Float[np.ndarray, "b a"]:
        """Priors with noise on the legal actions."""
        legal = prior > 0
        gamma = np.maximum(rng.standard_gamma(self.alpha, prior.shape), SMALLEST) * legal
        mix = (1 - self.fraction) * prior + self.fraction * gamma / gamma.sum(1, keepdims=True)
        return np.where(legal, np.maximum(mix, SMALLEST), 0.0)


@dataclass(frozen=True)
class Widening:
    """How many may be open after n visits: factor n^power, at least one."""

    action_factor: float = 1.0
    """Where actions are proposed."""
    action_power: float = 0.5
    outcome_factor: float = 1.0
    """Where an edge keeps several sampled outcomes."""
    outcome_power: float = 0.5

    def __post_init__(self) -> None:
        factors, powers = (self.action_factor, self.outcome_factor), (self.action_power, self.outcome_power)
        if not min(factors) > 0 or not min(powers) >= 0 or not max(powers) <= 1:
            raise ValueError(
                f"widening has factors above 0 and powers in [0, 1], got {factors} and {powers}: give such numbers"
            )

    def actions(self, visits: int) -> int:
        """That are open in the end."""
        return max(1, math.ceil(self.action_factor * visits**self.action_power))


def rule_of(
    model: Any,
    select: Literal["uct", "puct", "gumbel"] | UCT | PUCT | Gumbel,
    normalise: str,
    outcomes: str | None,
    solver: bool,
    leaves: int,
    widening: Widening,
) -> Rule:
    """All settings as numbers.

    Raises:
        ValueError: a setting out of its range, or two that contradict each other.
    """
    named: dict[str, UCT | PUCT | Gumbel] = {"uct": UCT(), "puct": PUCT(), "gumbel": Gumbel()}
    if isinstance(select, str) and select not in named:
        raise ValueError(f"a search selects by one of {list(named)}, got {select!r}: choose one of them")
    rule = named[select] if isinstance(select, str) else select
    if normalise not in NORMALISE:
        raise ValueError(f"action values are normalised by one of {list(NORMALISE)}, got {normalise!r}: choose one")
    if leaves < 1:
        raise ValueError(f"one call of the model evaluates 1 simulation of a root or more, got leaves={leaves}")
    chance, propose = hasattr(model, "chance"), hasattr(model, "propose")
    if outcomes is None:
        outcomes = "many" if getattr(model, "stochastic", False) else "one"
    if outcomes not in ("one", "many"):
        raise ValueError(f"an edge keeps outcomes 'one' or 'many', got {outcomes!r}: choose one of them")
    many = outcomes == "many"
    if many and chance:
        raise ValueError("this model names its outcomes (chance), so an edge has one: leave out outcomes='many'")
    if solver and (many or propose):
        raise ValueError("what is sampled or proposed proves nothing: leave out the solver, or outcomes='many'")
    if isinstance(rule, Gumbel) and propose:
        raise ValueError("Gumbel's search draws from known actions, and this model proposes them: choose uct or puct")
    c, base, first_play, reduction, value_scale, visit_offset = 0.0, 1.0, "zero", 0.0, 0.0, 0.0
    if isinstance(rule, UCT):
        kind, c = BY_UCT, rule.c
    elif isinstance(rule, PUCT):
        kind, c, base, first_play, reduction = BY_PUCT, rule.c, rule.base, rule.first_play, rule.reduction
    else:
        kind, value_scale, visit_offset = BY_GUMBEL, rule.value_scale, rule.visit_offset
        if rule.considered < 1 or rule.scale < 0:
            raise ValueError(
                f"Gumbel's search considers 1 action or more with noise of a scale of 0 or more, got "
                f"{rule.considered} and {rule.scale}: give such numbers"
            )
    if first_play not in FIRST_PLAY:
        raise ValueError(f"first_play is one of {list(FIRST_PLAY)}, got {first_play!r}: choose one of them")
    if not c >= 0 or not base > 0:
        raise ValueError(f"exploration has a constant of 0 or more and a base above 0, got {c} and {base}: give such")
    return Rule(
        kind, float(c), float(base), FIRST_PLAY.index(first_play), float(reduction), NORMALISE.index(normalise),
        float(value_scale), float(visit_offset), float(widening.action_factor if propose else 0.0),
        float(widening.action_power), float(widening.outcome_factor if many else 0.0), float(widening.outcome_power),
        solver, leaves,
    )  # fmt: skip
