"""The table by layer, in words: theory and effect of every layer's central neuron side by side.

Left out: the numbers at full precision, which are in `numbers.json`.
"""

import math

from sightline.seeing.report.contents import Missing, Report
from sightline.seeing.report.sentences import extent, named, percent

HEAD = (
    "#",
    "Layer",
    "Kind",
    "Map",
    "Size",
    "Stride",
    "Padding",
    "Of the image",
    "Effect 50 %",
    "Effect 95 %",
    "Squares 50 %",
    "Squares 99 %",
    "Assumed dense",
)
WORDS = (1, 2, 12)  # columns of words; the others hold numbers


def table_rows(report: Report) -> list[dict[str, object]]:
    """One row for each layer: its cells, and whether charts and strip go through it."""
    if isinstance(report.layers, Missing):
        return []
    numbers = {name: str(place + 1) for place, name in enumerate(report.main)}
    rows: list[dict[str, object]] = []
    for layer in report.layers:
        effect = None if isinstance(report.effects, Missing) else report.effects.get(layer.name)
        squares = {} if effect is None else effect.squares
        cells = [
            numbers.get(layer.name, ""),
            named(layer.name),
            layer.kind,
            "-" if layer.grid is None else extent(layer.grid),
            extent(layer.size),
            extent(layer.stride),
            "-" if layer.padding is None or math.isinf(sum(layer.padding)) else extent(layer.padding),
            percent(layer.share),
            "-" if effect is None else percent(effect.half),
            "-" if effect is None else percent(effect.most),
            percent(squares["50"]) if "50" in squares else "-",
            percent(squares["99"]) if "99" in squares else "-",
            ", ".join(layer.dense),
        ]
        rows.append({"cells": cells, "main": layer.name in numbers})
    return rows
