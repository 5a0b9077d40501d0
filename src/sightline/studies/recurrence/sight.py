"""What a trained network does with its sight: scores on the cross and off it, and where its attention falls.

A question is *on the cross* if the digit that answers it stands in the question's row or column. One pass sees that far
and no further; what lies off the cross reaches the question from the second pass on, by way of two cells, and from the
third on by many (`routes`).

Attention is measured twice. *Looks*: the product of the passes' attention tables. *Arrives*: each pass with the way
around it, gamma A + 1, since a network may learn to answer in fewer passes than it has; of that, what comes from cells
other than the query's own. Left out: partial information, as in the long-range study (`long_range/evaluation.py`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.layers.criss_cross import RecurrentCrissCross
from sightline.ops.patterns import criss_cross, field, window
from sightline.studies.long_range.draw_scenes import Look
from sightline.studies.long_range.evaluation import questions_of_pixels
from sightline.studies.long_range.networks import AttentionContext, RecallNetwork
from sightline.studies.long_range.training import Training, predict
from sightline.vision.built_in.canvases import CELL, Canvases, take
from sightline.vision.measures.metrics import confusion_matrix, mean_iou

LOOKED_AT = 32  # test canvases on which attention is measured
IGNORE = 255
HEAD = (window(3),)  # the published head has a 3 x 3 convolution before the passes and two after them
PUBLISHED_SIDE = 97  # positions along each side of its map, at 769 pixels and stride 8


@dataclass(frozen=True)
class Sight:
    """Shares over test canvases; None where there is no attention, or no such question."""

    on_cross: float | None  # score at questions whose answer stands in their row or column
    off_cross: float | None
    asked_on_cross: float  # share of the questions
    look_on_cross: float | None  # share of the attention that falls on the answer's cell, over such questions
    look_off_cross: float | None
    arrive_on_cross: float | None  # share of what arrives from other cells that comes from the answer's
    arrive_off_cross: float | None
    mean_iou: float


def passes_of(network: str) -> int:
    """R, from a network's name."""
    return int(network.rpartition("=")[2])


def same_line(canvases: Canvases) -> Tensor:
    """Whether the answer to each question stands in its row or column, `[b, s]`."""
    columns = canvases.cells[1]
    asks, answers = canvases.question_cell, canvases.answer_cell
    return (asks // columns == answers // columns) | (asks % columns == answers % columns)


def arrivals(network: RecallNetwork, image: Tensor, query: tuple[int, int]) -> Tensor | None:
    """Where what arrives at a query comes from, the ways around the passes counted, its own cell left out: `[b, y, x]`.

    None where the network has no attention. Sums to one.
    """
    layer = network.context.layer if isinstance(network.context, AttentionContext) else None
    if not isinstance(layer, RecurrentCrissCross):
        return None
    weights = layer.weights(network.stem(image), query, residual=True)
    weights[:, query[0], query[1]] = 0
    return weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-12)


def share_on_answer(network: RecallNetwork, canvases: Canvases, look: Look) -> Tensor | None:
    """The share of each question's look that falls on the cell of its answer, `[b, s]`; None without attention."""
    columns = canvases.cells[1]
    shares = torch.zeros(canvases.question_cell.shape)
    network.eval()
    with torch.no_grad():
        for b in range(len(shares)):
            image = canvases.image[b : b + 1]
            for s, (asks, answers) in enumerate(
                zip(canvases.question_cell[b].tolist(), canvases.answer_cell[b].tolist(), strict=True)
            ):
                looks = look(network, image, divmod(asks, columns))
                if looks is None:
                    return None
                shares[b, s] = looks.flatten()[answers]
    return shares


def sight(network: RecallNetwork, training: Training) -> Sight:
    """Measure one trained network on the test canvases."""
    canvases = training.test_canvases(training.budget.test_canvases)
    labelled = canvases.label >= 0
    said = predict(network, canvases.image)
    lies = same_line(canvases)
    of_pixel = questions_of_pixels(canvases).clamp_min(0).flatten(1)
    on = lies.gather(1, of_pixel).reshape(said.shape) & labelled
    right = said == canvases.label
    few = take(canvases, slice(0, LOOKED_AT))
    near = same_line(few)
    looks, comes = (share_on_answer(network, few, look) for look in (RecallNetwork.looks, arrivals))
    target = torch.where(labelled, canvases.label, IGNORE)
    return Sight(
        on_cross=_share(right, on),
        off_cross=_share(right, labelled & ~on),
        asked_on_cross=float(lies.double().mean()),
        look_on_cross=None if looks is None else _share(looks, near),
        look_off_cross=None if looks is None else _share(looks, ~near),
        arrive_on_cross=None if comes is None else _share(comes, near),
        arrive_off_cross=None if comes is None else _share(comes, ~near),
        mean_iou=float(mean_iou(confusion_matrix(said, target, canvases.classes, ignore=IGNORE))),
    )


def _share(values: Tensor, where: Tensor) -> float | None:
    return float(values[where].double().mean()) if where.any() else None


def routes(passes: int, size: tuple[int, int], query: tuple[int, int], key: tuple[int, int]) -> int:
    """In how many ways, cell by cell, `passes` passes lead from the key to the query."""
    table = criss_cross.mask(size).double()
    ways = torch.eye(len(table), dtype=torch.float64)
    for _ in range(passes):
        ways = ways @ table
    return int(ways[query[0] * size[1] + query[1], key[0] * size[1] + key[1]])


def architecture(passes: int, size: tuple[int, int], query: tuple[int, int]) -> dict[str, int | float]:
    """The field of one query as positions of the map, routes to a cell off its cross, and the published head's "
    "field."""
    seen = field([criss_cross] * passes, query, size)
    off = ((query[0] + 1) % size[0], (query[1] + 1) % size[1])
    middle = (PUBLISHED_SIDE // 2, PUBLISHED_SIDE // 2)
    published = field([*HEAD, *[criss_cross] * passes, *HEAD, *HEAD], middle, (PUBLISHED_SIDE, PUBLISHED_SIDE))
    return {
        "field": int(seen.sum()),
        "positions": seen.numel(),
        "routes_off_cross": routes(passes, size, query, off),
        "published_head_field": float(published.double().mean()),
    }


def cells_agree(reach: Tensor, passes: int, cells: tuple[int, int]) -> bool:
    """Whether the field that was found bit by bit, `[cells_y, cells_x, h, w]`, is that of the patterns, everywhere."""
    found = reach[:, :, ::CELL, ::CELL].flatten(2).flatten(0, 1)  # [cells, positions]
    expected = torch.stack(
        [field([criss_cross] * passes, (y, x), cells).flatten() for y in range(cells[0]) for x in range(cells[1])], 1
    )
    return bool((found == expected).all())
