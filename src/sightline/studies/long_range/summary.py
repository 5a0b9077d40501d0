"""Rows of single trainings, summed up over seeds: the score and its spread, the costs, and one verdict.

Left out: tests of significance between networks; low and high are the lowest and the highest seed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sightline.studies.long_range.evaluation import Changes, Evaluation
from sightline.studies.long_range.verdicts import judge

Row = Mapping[str, Any]
COSTS = ("parameters", "flops", "peak_memory", "seconds", "seconds_per_step")


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry per task, number of digits and network, in the order of the rows."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["digits"], row["network"]), []).append(row)
    return [_one(group) for group in groups.values()]


def pooled(rows: Sequence[Row]) -> Evaluation:
    """Several trainings of one network as one evaluation: means, and the standard error of the mean score.

    The error is that of the finite test set. The spread over seeds is no doubt in a network's favour: one that learns
    from every other seed has not learned; it is told as the lowest and highest score.
    """
    scores = [row["score"] for row in rows]
    mean = sum(scores) / len(scores)
    of_test = math.sqrt(sum(row["score_error"] ** 2 for row in rows)) / len(rows)
    within = [row["score_within"] for row in rows if row["score_within"] is not None]
    return Evaluation(
        score=mean,
        score_error=of_test,
        reach=rows[0]["reach"],
        ceiling=rows[0]["ceiling"],
        score_within=sum(within) / len(within) if within else None,
        chance=rows[0]["chance"],
        tested=Changes(*(sum(row["tested"][name] for row in rows) for name in Changes.__dataclass_fields__)),
    )


def _one(rows: Sequence[Row]) -> dict[str, Any]:
    evaluation = pooled(rows)
    verdict = judge(evaluation)
    scores = [row["score"] for row in rows]
    return {
        **{name: rows[0][name] for name in ("task", "digits", "network")},
        "score_mean": evaluation.score,
        "score_low": min(scores),
        "score_high": max(scores),
        "score_error": evaluation.score_error,
        "seeds": len(rows),
        "ceiling": evaluation.ceiling,
        "reach": evaluation.reach,
        "score_within": evaluation.score_within,
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        **{name: _mean([row[name] for row in rows if row[name] is not None]) for name in COSTS},
    }


def _mean(values: Sequence[float | int]) -> float | int | None:
    """The mean; a whole number where all values are the same."""
    if not values:
        return None
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)
