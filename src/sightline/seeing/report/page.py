"""The page: one self-contained file on which a reader points at a pixel and sees what the nearest neuron sees.

`page_of` turns a `Report` into HTML: three answers, the explorer (`page.js` draws on canvases what `packing.py`
packed), the same neuron through the layers, charts by depth, the table, kernels, features, heads. Words are escaped. A
part that is `Missing` leaves its sentence.

Left out: files (`write.py` writes them), and any measurement.
"""

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from sightline.seeing.report import charts, packing
from sightline.seeing.report.contents import Look, Missing, Neurons, Picture, Report
from sightline.seeing.report.rows import HEAD, table_rows
from sightline.seeing.report.sentences import answers, crossing, middle

LOOK_BUDGET = 6_000_000  # characters of the page that attention may take
WHOLE_BUDGET = 15_000_000  # characters of a page


def png_bytes(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A picture as a PNG file."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(picture).save(file, format="PNG", optimize=True)
    return file.getvalue()


def picture_uri(png: bytes) -> str:
    """A picture as an address that holds all of it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def photo_uri(photo: UInt8[np.ndarray, "h w 3"]) -> str:
    """The photograph for the page: PNG, or JPEG where that would be large."""
    from PIL import Image

    png = png_bytes(photo)
    if len(png) < 500_000:
        return picture_uri(png)
    file = BytesIO()
    Image.fromarray(photo).save(file, format="JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _neurons(one: Neurons) -> dict[str, Any]:
    packed: dict[str, Any] = {
        "layer": one.layer,
        "grid": one.grid,
        "rows": one.rows,
        "columns": one.columns,
        "cy": packing.rounded(one.centres[0]),
        "cx": packing.rounded(one.centres[1]),
        "boxes": one.boxes.tolist(),
        "sets": packing.packed_sets(one.sets),
        "exact": one.exact,
        "heats": None,
    }
    if one.heats is not None:
        sides = np.minimum(one.boxes[:, 2:], one.sets.shape[1:]) - np.maximum(one.boxes[:, :2], 0)
        cell = packing.cell_of(len(one.heats), one.heats.shape[1:], int(sides.max(initial=1)))
        small = packing.smaller(one.heats, cell)
        packed["heats"] = {
            "size": small.shape[-2:],
            "data": packing.deflated(packing.as_bytes(small)),
            "half": packing.level_bytes(small, 0.5),
            "most": packing.level_bytes(small, 0.95),
            "halfShare": packing.rounded([packing.area_of(heat, 0.5) for heat in one.heats], 6),
            "mostShare": packing.rounded([packing.area_of(heat, 0.95) for heat in one.heats], 6),
        }
    return packed


def _look(one: Look) -> dict[str, Any]:
    return {
        "layer": one.layer,
        "heads": one.heads,
        "rows": one.rows,
        "columns": one.columns,
        "cy": packing.rounded(one.centres[0]),
        "cx": packing.rounded(one.centres[1]),
        "keys": one.weights.shape[-2:],
        "data": packing.deflated(packing.as_bytes(one.weights)),
        "distance": [packing.rounded(row.tolist(), 1) for row in one.distances],
    }


def packed_looks(looks: Sequence[Look], budget: int = LOOK_BUDGET) -> list[dict[str, Any]]:
    """As many layers as the budget allows, spread over the depth and the last always; single heads go before layers."""
    packed = [_look(one) for one in looks]
    if sum(len(one["data"]) for one in packed) > budget:
        packed = [
            _look(
                Look(one.layer, one.heads[:1], one.rows, one.columns, one.centres, one.weights[:1], one.distances[:1])
            )
            for one in looks
        ]
    while len(packed) > 1 and sum(len(one["data"]) for one in packed) > budget:
        packed = packed[:-1][::2] + packed[-1:] if len(packed) > 2 else packed[-1:]
    return packed


def explorer_data(report: Report) -> dict[str, Any] | None:
    """What `page.js` reads; None where no neuron could be followed."""
    if isinstance(report.neurons, Missing):
        return None
    h, w = report.photo.shape[:2]
    return {
        "image": {"h": h, "w": w, "uri": photo_uri(report.photo)},
        "kind": report.kind,
        "start": list(divmod(middle(report.neurons), len(report.neurons.columns))),
        "neurons": _neurons(report.neurons),
        "steps": [] if isinstance(report.steps, Missing) else [_neurons(step) for step in report.steps],
        "looks": [] if isinstance(report.looks, Missing) else packed_looks(report.looks),
    }


def sentence_of(part: object) -> str:
    """The sentence of a missing part; nothing where it is there."""
    return part.sentence if isinstance(part, Missing) else ""


def _pictures(part: tuple[Picture, ...] | Missing) -> list[dict[str, str]]:
    if isinstance(part, Missing):
        return []
    return [{"title": one.title, "caption": one.caption, "alt": one.alt, "uri": picture_uri(one.png)} for one in part]


def as_json(value: Any) -> Markup:
    """JSON that may stand inside a script element."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def page_of(report: Report) -> str:
    """The page's HTML.

    Raises:
        ValueError: it would be larger than 15 MB.
    """
    import jinja2

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    data = explorer_data(report)
    values = {
        "style": Markup((here / "page.css").read_text(encoding="utf-8")),
        "script": Markup((here / "page.js").read_text(encoding="utf-8")),
        "report": report,
        "answers": answers(report),
        "data": None if data is None else as_json(data),
        "looks": [] if data is None else data["looks"],
        "steps": [] if data is None else data["steps"],
        "missing": {
            name: sentence_of(getattr(report, name))
            for name in ("layers", "effects", "neurons", "steps", "looks", "distances", "kernels", "features")
        },
        "head": HEAD,
        "table": table_rows(report),
        "crossing": crossing(report),
        "depth": charts.by_depth(report),
        "heads": None if isinstance(report.distances, Missing) else charts.by_head(report.distances),
        "entropies": None if isinstance(report.distances, Missing) else charts.entropies(report.distances),
        "kernels": _pictures(report.kernels),
        "features": _pictures(report.features),
    }
    page = environment.get_template("page.html.j2").render(values)
    if len(page) > WHOLE_BUDGET:
        raise ValueError(
            f"the page would have {len(page) / 1e6:.0f} MB, and {WHOLE_BUDGET / 1e6:.0f} are allowed:"
            " ask for a smaller --size"
        )
    return page
