"""The numbers of a report as JSON: everything the page says, nothing it draws.

Infinity (a field with no end) is written as text, since JSON has no such number. Left out: sets, heats and weights.
"""

import dataclasses
import math
from typing import Any

from sightline.seeing.report.contents import Missing, Neurons, Report
from sightline.seeing.report.packing import area_of
from sightline.seeing.report.sentences import answers, crossing


def plain(value: Any) -> Any:
    """Dataclasses, tuples and numbers in JSON's own kinds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _of_neurons(neurons: Neurons) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    places = [(row, column) for row in neurons.rows for column in neurons.columns]
    for index, position in enumerate(places):
        row: dict[str, Any] = {
            "position": list(position),
            "box": neurons.boxes[index].tolist(),
            "pixels": int(neurons.sets[index].sum()),
            "exact": neurons.exact,
        }
        if neurons.heats is not None:
            row |= {"effect_50": area_of(neurons.heats[index], 0.5), "effect_95": area_of(neurons.heats[index], 0.95)}
        rows.append(row)
    return rows


def numbers_of(report: Report) -> dict[str, Any]:
    """What `numbers.json` holds."""
    missing = {
        field.name: value.sentence
        for field in dataclasses.fields(report)
        if isinstance(value := getattr(report, field.name), Missing)
    }
    found: dict[str, Any] = {
        "model": report.model,
        "image": report.image,
        "size": list(report.photo.shape[:2]),
        "kind": report.kind,
        "answers": dict(answers(report)),
        "crossing": crossing(report),
        "main_layers": list(report.main),
        "warnings": list(report.warnings),
        "missing": missing,
        "command": report.command,
        "facts": dict(report.facts),
    }
    for name in ("layers", "effects", "distances"):
        part = getattr(report, name)
        found[name] = None if isinstance(part, Missing) else plain(part)
    if not isinstance(report.neurons, Missing):
        found["neurons"] = {"layer": report.neurons.layer, "each": _of_neurons(report.neurons)}
    if not isinstance(report.looks, Missing):
        found["attention"] = [
            {"layer": look.layer, "mean_distance": dict(zip(look.heads, look.distances.mean(1).tolist(), strict=True))}
            for look in report.looks
        ]
    return found
