"""One of three verdicts on a network, by a rule that is written here alone, and the sentence that explains it.

The gap between a score and 1 has two parts. *Unseen*: from 1 down to the ceiling, what no training could repair,
because the answer lies outside the network's field. *Unlearned*: from the ceiling down to the score.

- *learned*: the score, within two standard errors, has come nine tenths of the way from chance to 1;
- otherwise the larger part of the gap decides: *cannot see*, or *can see but did not learn it in this budget*.

Left out: why something was not learned; a longer budget may change that verdict, never a "cannot see".
"""

import math
from dataclasses import dataclass

from sightline.studies.long_range.evaluation import Changes, Evaluation

LEARNED, CANNOT_SEE, DID_NOT_LEARN = "learned", "cannot see", "can see but did not learn it in this budget"
ENOUGH = 0.9  # of the way from chance to 1
ERRORS = 2.0  # standard errors of doubt given to the network


@dataclass(frozen=True)
class Verdict:
    """The verdict, and one sentence that says where the score went."""

    verdict: str
    sentence: str


def judge(evaluation: Evaluation) -> Verdict:
    """Judge one network on one task."""
    score, ceiling, reach, chance = evaluation.score, evaluation.ceiling, evaluation.reach, evaluation.chance
    unseen, unlearned = 1 - ceiling, ceiling - score
    if score + ERRORS * evaluation.score_error >= chance + ENOUGH * (1 - chance):
        verdict = LEARNED
        sentence = f"learned: {_percent(score)} right, chance is {_percent(chance)}"
        if reach < 1:
            sentence += f", though {_percent(1 - reach)} of the answers lie outside its field"
    elif unseen >= unlearned:
        verdict = CANNOT_SEE
        sentence = f"cannot see {_percent(1 - reach)} of the answers{_proof(evaluation.tested)}"
        if evaluation.score_within is not None:
            sentence += f"; of the rest it gets {_percent(evaluation.score_within)} right"
    else:
        verdict = DID_NOT_LEARN
        of = "every answer" if reach == 1 else f"{_percent(reach)} of the answers"
        sentence = f"can see {of} but did not learn it in this budget: {_percent(score)} right"
        sentence += f", {_percent(ceiling)} was possible, chance is {_percent(chance)}"
    return Verdict(verdict, sentence + ".")


def _proof(tested: Changes) -> str:
    if tested.beyond_changed:
        changed = f"{tested.beyond_changed} of {tested.beyond}"
        return f" by its field, which is wrong: changing such an answer changed {changed} outputs"
    if not tested.beyond:
        return ""
    return f" (changing such an answer changed no bit of its output in {tested.beyond} of {tested.beyond} trials)"


def _percent(share: float) -> str:
    """Whole percents; 99.6 is no 100."""
    percent = 100 * share
    return (
        f"{math.floor(percent) if 99 < percent < 100 else math.ceil(percent) if 0 < percent < 1 else round(percent)} %"
    )
