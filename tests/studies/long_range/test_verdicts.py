"""The rule of the verdicts, on numbers made up for it, and the words that a reader gets."""

import pytest

from sightline.studies.long_range.evaluation import Changes, Evaluation
from sightline.studies.long_range.summary import pooled, summarise
from sightline.studies.long_range.verdicts import CANNOT_SEE, DID_NOT_LEARN, LEARNED, judge


def evaluation(
    score: float, reach: float, *, error: float = 0.005, chance: float = 0.1, tested: tuple[int, int] = (40, 0)
) -> Evaluation:
    ceiling = reach + (1 - reach) * chance
    within = None if reach == 0 else min(1.0, max(0.0, (score - (1 - reach) * chance) / reach))
    return Evaluation(score, error, reach, ceiling, within, chance, Changes(*tested, 10, 10))


@pytest.mark.parametrize(
    ("score", "reach", "verdict"),
    [
        (0.97, 1.0, LEARNED),
        (0.89, 1.0, DID_NOT_LEARN),
        (0.24, 1.0, DID_NOT_LEARN),
        (0.10, 1.0, DID_NOT_LEARN),
        (0.31, 0.23, CANNOT_SEE),  # all that it sees
        (0.10, 0.23, CANNOT_SEE),  # nothing learned, yet more is unseen
        (0.12, 0.0, CANNOT_SEE),
        (0.30, 0.95, DID_NOT_LEARN),
        (0.95, 0.96, LEARNED),  # a corner out of sight does not matter
        (0.60, 0.60, CANNOT_SEE),
    ],
)
def test_the_larger_part_of_the_gap_decides(score: float, reach: float, verdict: str) -> None:
    assert judge(evaluation(score, reach)).verdict == verdict


def test_the_doubt_of_two_standard_errors_is_the_networks() -> None:
    assert judge(evaluation(0.90, 1.0, error=0.001)).verdict == DID_NOT_LEARN
    assert judge(evaluation(0.90, 1.0, error=0.006)).verdict == LEARNED


def test_chance_is_counted() -> None:
    assert judge(evaluation(0.93, 1.0, chance=0.1)).verdict == LEARNED
    assert judge(evaluation(0.93, 1.0, chance=0.5)).verdict == DID_NOT_LEARN


def test_sentences_say_where_the_score_went() -> None:
    assert judge(evaluation(0.31, 0.24)).sentence == (
        "cannot see 76 % of the answers (changing such an answer changed no bit of its output in 40 of 40 trials); "
        "of the rest it gets 98 % right."
    )
    assert judge(evaluation(0.24, 1.0)).sentence == (
        "can see every answer but did not learn it in this budget: 24 % right, 100 % was possible, chance is 10 %."
    )
    assert judge(evaluation(0.98, 1.0)).sentence == "learned: 98 % right, chance is 10 %."
    assert "4 of 40" in judge(evaluation(0.31, 0.24, tested=(40, 4))).sentence
    assert "field, which is wrong" in judge(evaluation(0.31, 0.24, tested=(40, 4))).sentence


def row(seed: int, score: float) -> dict[str, object]:
    return {
        "task": "recall", "digits": 4, "network": "non-local", "seed": seed, "score": score, "score_error": 0.004,
        "reach": 1.0, "ceiling": 1.0, "score_within": score, "chance": 0.1, "seconds": 10.0 + seed, "parameters": 7,
        "flops": 5, "peak_memory": None, "seconds_per_step": 0.1,
        "tested": {"beyond": 0, "beyond_changed": 0, "within": 8, "within_changed": 8},
    }  # fmt: skip


def test_seeds_are_summed_up() -> None:
    (one,) = summarise([row(0, 0.9), row(1, 1.0), row(2, 0.98)])
    assert one["score_mean"] == pytest.approx(0.96)
    assert (one["score_low"], one["score_high"], one["seeds"]) == (0.9, 1.0, 3)
    assert (one["parameters"], one["peak_memory"], one["seconds"]) == (7, None, 11.0)
    assert one["verdict"] == LEARNED
    assert one["score_error"] == pytest.approx(0.004 / 3**0.5)  # of three independent test errors


def test_a_spread_over_seeds_is_no_doubt_in_favour() -> None:
    (one,) = summarise([row(0, 0.49), row(1, 0.97), row(2, 0.82)])
    assert one["verdict"] == DID_NOT_LEARN
    assert (one["score_low"], one["score_high"]) == (0.49, 0.97)


def test_one_seed_has_the_error_of_its_test_set() -> None:
    got = pooled([row(0, 0.9)])
    assert got.score_error == pytest.approx(0.004)
    assert got.tested == Changes(0, 0, 8, 8)
