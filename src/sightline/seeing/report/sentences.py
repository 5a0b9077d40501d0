"""What the page says in words: three answers at the top, and where theory passes the image.

Numbers come from the report; what is missing is said instead of guessed.

Left out: markup.
"""

import math
from collections.abc import Sequence

from sightline.seeing.report.contents import Layer, Look, Missing, Neurons, Report

UNBROKEN = "\N{NO-BREAK SPACE}"
TIMES = "\N{MULTIPLICATION SIGN}"


def percent(share: float) -> str:
    """A share in words; 100 % and 0 % are said of all and nothing alone."""
    value = 100 * share
    if 0 < value < 0.1:
        return f"<{UNBROKEN}0.1{UNBROKEN}%"
    if value < 100 and f"{value:.1f}" == "100.0":
        return f"99.9{UNBROKEN}%"
    return (
        f"{value:.0f}{UNBROKEN}%" if value >= 9.95 and abs(value - round(value)) < 0.05 else f"{value:.1f}{UNBROKEN}%"
    )


def extent(pair: Sequence[float | int] | None) -> str:
    """Height by width; one dash where it is not known."""
    if pair is None:
        return "-"
    return f" {TIMES} ".join("no end" if math.isinf(value) else f"{value:g}" for value in pair)


def named(name: str) -> str:
    """A layer's name; the network's own output has none."""
    return name or "output"


def middle(neurons: Neurons) -> int:
    """The index of the followed neuron nearest to the central one, at (Y // 2, X // 2)."""
    row = min(range(len(neurons.rows)), key=lambda i: abs(neurons.rows[i] - neurons.grid[0] // 2))
    column = min(range(len(neurons.columns)), key=lambda i: abs(neurons.columns[i] - neurons.grid[1] // 2))
    return row * len(neurons.columns) + column


def passes(layer: Layer, image: tuple[int, int]) -> bool:
    """Whether the unclipped theoretical field is as large as the image on both axes."""
    return layer.size is not None and layer.size[0] >= image[0] and layer.size[1] >= image[1]


def crossing(report: Report) -> str:
    """The first layer whose theoretical field is as large as the image, in one sentence."""
    if isinstance(report.layers, Missing):
        return ""
    h, w = report.photo.shape[:2]
    by_name = {layer.name: layer for layer in report.layers}
    for name in report.main:
        layer = by_name.get(name)
        if layer is not None and passes(layer, (h, w)):
            return (
                f"From {named(name)} on the theoretical field ({extent(layer.size)} pixels) is at least as large as the"
                f" image ({h} {TIMES} {w})."
            )
    return f"In no layer is the theoretical field as large as the image ({h} {TIMES} {w})."


def can_see(report: Report) -> str:
    """What can it see?"""
    if isinstance(report.neurons, Missing):
        return report.neurons.sentence
    neurons, place = report.neurons, middle(report.neurons)
    share = float(neurons.sets[place].mean())
    layer = None
    if not isinstance(report.layers, Missing):
        layer = next((one for one in report.layers if one.name == neurons.layer), None)
    size = "" if layer is None or layer.size is None else f"; unclipped, its field has {extent(layer.size)} pixels"
    seen = "every pixel of this image" if share == 1 else f"{percent(share)} of this image"
    dense = f" At most: {', '.join(layer.dense)} counted as seeing everything." if layer and layer.dense else ""
    return f"The central neuron of {named(neurons.layer)} can see {seen}{size} ({report.kind}).{dense}"


def does_see(report: Report) -> str:
    """What does it see?"""
    if isinstance(report.effects, Missing):
        return report.effects.sentence
    if isinstance(report.neurons, Missing):
        return report.neurons.sentence
    effect = report.effects.get(report.neurons.layer)
    if effect is None:
        return report.heat_note or "The effective field of this layer was not measured."
    if effect.most == 0:
        return "No gradient of this neuron reaches the image: with these weights it sees nothing here."
    return (
        f"Half of its effect comes from {percent(effect.half)} of the image, 95{UNBROKEN}% of it from"
        f" {percent(effect.most)}."
    )


def where_looks(report: Report) -> str:
    """Where does it look?"""
    if isinstance(report.looks, Missing):
        return report.looks.sentence
    last = report.looks[-1]
    said = f"In {named(last.layer)} a query looks {_mean_distance(last):.0f} pixels away on average"
    if not isinstance(report.distances, Missing):
        said += f"; attention that looks everywhere alike would look {report.distances.uniform:.0f} pixels away"
        spread = [value for row in report.distances.pixels for value in row]
        if spread and round(min(spread)) < round(max(spread)):
            said += f", and single heads range from {min(spread):.0f} to {max(spread):.0f}"
    return said + "."


def _mean_distance(look: Look) -> float:
    return float(look.distances[0].mean())


def answers(report: Report) -> list[tuple[str, str]]:
    """The three questions with a plain sentence each."""
    return [
        ("What can it see?", can_see(report)),
        ("What does it see?", does_see(report)),
        ("Where does it look?", where_looks(report)),
    ]
