"""How good a network is on examples, and which it got most wrong: what the report shows.

Every example goes through the network as `sightline predict` shows it; the confusion matrix adds up, and the worst
examples are kept with what was said of them. An image to segment is scored by its own mean intersection over union, an
image to classify by the probability of its true class.

Left out: the score during training (`training/scores.py`), and pages (`page.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from sightline.run.progress import counted
from sightline.vision.augmentation.augment import normalise
from sightline.vision.data.examples import Example, Examples
from sightline.vision.measures.metrics import confusion_matrix, mean_iou
from sightline.vision.prediction.predict import class_probabilities, probabilities
from sightline.vision.prediction.predict_image import percent, prepared_to_classify
from sightline.vision.prediction.runs import LoadedRun
from sightline.vision.prediction.why import where_it_looks


@dataclass(frozen=True)
class Case:
    """One example and what the network said of it."""

    name: str
    score: float  # in [0, 1]
    image: UInt8[Tensor, "3 h w"]  # as the network was shown it
    said: Int[Tensor, "*p"]  # a mask or a class
    truth: Int[Tensor, "*p"]
    sentence: str  # what it took for what
    look: Float[Tensor, "h w"] | None = None  # what a class was told from, and
    look_name: str = ""  # what that is


@dataclass(frozen=True)
class Judgement:
    """What `judge` found."""

    matrix: Int[Tensor, "k k"]  # pixels or images: row the truth, column the answer
    count: int  # examples
    wrong: int  # of them, those in which anything is wrong
    worst: tuple[Case, ...]  # the worst first; examples without a mistake are none
    ignore: int  # the label that does not count


def judge(loaded: LoadedRun, examples: Examples, *, worst: int = 12, device: torch.device | str = "cpu") -> Judgement:
    """Show the network every example.

    Args:
        loaded: the run.
        examples: of the run's task and classes.
        worst: how many of the worst examples are kept.
        device: where the network runs.

    Raises:
        ValueError: the examples are of another task or have other classes.
    """
    if examples.task != loaded.task:
        raise ValueError(
            f"the run in {loaded.folder} was trained to {loaded.task}, the examples are to {examples.task}"
        )
    if tuple(examples.classes) != tuple(loaded.classes):
        raise ValueError(
            f"the run in {loaded.folder} knows the classes {_few(loaded.classes)}, the examples have"
            f" {_few(examples.classes)}: give it examples of its own classes"
        )
    network = loaded.network.to(device).eval()
    one = _segmented if loaded.task == "segment" else _classified
    matrix, wrong, kept = torch.zeros(len(loaded.classes), len(loaded.classes), dtype=torch.int64), 0, list[Case]()
    for index in counted(range(len(examples)), "examples"):
        counts, case = one(loaded, network, examples[index], examples.name(index), examples.ignore)
        matrix += counts
        if case is not None:
            wrong += 1
            kept = sorted([*kept, case], key=lambda case: case.score)[:worst]
    return Judgement(matrix, len(examples), wrong, tuple(kept), examples.ignore)


def _segmented(
    loaded: LoadedRun, network: nn.Module, example: Example, name: str, ignore: int
) -> tuple[Tensor, Case | None]:
    shown = normalise(example.image, loaded.mean, loaded.std)[None].to(next(network.parameters()).device)
    said = probabilities(network, shown)[0].argmax(0).cpu()
    matrix = confusion_matrix(said, example.target, len(loaded.classes), ignore=ignore)
    if matrix.diagonal().sum() == matrix.sum():
        return matrix, None
    sentence = confusion_sentence(matrix, loaded.classes)
    return matrix, Case(name, float(mean_iou(matrix)), example.image, said, example.target, sentence)


def _classified(
    loaded: LoadedRun, network: nn.Module, example: Example, name: str, _ignore: int
) -> tuple[Tensor, Case | None]:
    image, names = prepared_to_classify(example.image, loaded), loaded.classes
    shown = normalise(image, loaded.mean, loaded.std)[None].to(next(network.parameters()).device)
    said = class_probabilities(network, shown)[0].cpu()
    best, truth = int(said.argmax()), int(example.target)
    # -1: of whole images every class counts
    matrix = confusion_matrix(said.argmax()[None], example.target[None], len(names), ignore=-1)
    if best == truth:
        return matrix, None
    sure = [percent(float(said[one])) for one in (truth, best)]
    sentence = f"It is {names[truth]} ({sure[0]}), and was called {names[best]} ({sure[1]})."
    look = where_it_looks(network, shown)
    return matrix, Case(
        name, float(said[truth]), image, torch.tensor(best), example.target, sentence, look.weights.cpu(), look.name
    )


def confusion_sentence(matrix: Int[Tensor, "k k"], classes: Sequence[str], most: int = 2) -> str:
    """The largest confusions in words: which class was taken for which, on what share of its own and of all pixels."""
    parts = []
    for truth, said, count in largest_confusions(matrix, most):
        own, whole = count / int(matrix[truth].sum()), count / int(matrix.sum())
        parts.append(f"{percent(own)} of {classes[truth]} was called {classes[said]} ({percent(whole)} of the pixels)")
    return "; ".join(parts) + "." if parts else "Nothing is wrong."


def largest_confusions(matrix: Int[Tensor, "k k"], most: int) -> list[tuple[int, int, int]]:
    """Truth, answer and count of the most frequent mistakes, the most frequent first."""
    wrong = matrix.clone()
    wrong.fill_diagonal_(0)
    counts, places = wrong.flatten().sort(descending=True, stable=True)
    k = len(matrix)
    return [(int(p) // k, int(p) % k, int(c)) for c, p in zip(counts[:most], places[:most], strict=True) if c > 0]


def _few(names: Sequence[str], at_most: int = 5) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
