"""The landscape of `hills.py` as a picture with the paths of all starts on it, as inline SVG.

Left out: the climbing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup, escape

from sightline.studies.page import png_bytes
from sightline.studies.policy_vs_value.hills import HIGH, LIMITS, LOW, expected
from sightline.vision.drawing.pages import picture_uri
from sightline.vision.drawing.svg_charts import WIDTH

MEANS, TICKS = (-4.0, 4.0), (0.05, 0.3, 1.0, 2.0, 4.0)
LOWEST = 0.02
GRID = (90, 120)  # cells of the picture, scales by means


def paint() -> UInt8[np.ndarray, "h w 3"]:
    """The exact expected reward over mean and scale: the brighter the more."""
    from matplotlib import colormaps

    scales = np.exp(np.linspace(math.log(LIMITS[1]), math.log(LOWEST), GRID[0]))[:, None]
    values = expected(np.linspace(*MEANS, GRID[1])[None], scales)
    return (np.array(colormaps["cividis"](0.8 * values / HIGH[0]))[..., :3] * 255).astype(np.uint8)


def draw(paths: Sequence[Mapping[str, Any]], title: str, height: float = 260.0) -> Markup:
    """The landscape, and the way of every start: white to the higher hill, orange to the lower one."""
    left, right, top, bottom = 38.0, WIDTH - 8, 26.0, height - 42.0

    def at(mean: float | int, scale: float | int) -> tuple[float, float]:
        x = left + (right - left) * (min(max(mean, MEANS[0]), MEANS[1]) - MEANS[0]) / (MEANS[1] - MEANS[0])
        share = math.log(max(scale, LOWEST) / LOWEST) / math.log(LIMITS[1] / LOWEST)
        return x, bottom - (bottom - top) * share

    size = f'x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"'
    parts = [f'<image {size} preserveAspectRatio="none" href="{picture_uri(png_bytes(paint()))}"/>']
    words = ['<text x="2" y="11" class="strong">scale s</text>']
    for tick in TICKS:
        y = at(0, tick)[1]
        words.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in (-4, LOW[1], 0, HIGH[1], 4):
        x = at(tick, 1)[0]
        words.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>')
    middle = (left + right) / 2
    words.append(f'<text x="{middle:.1f}" y="{bottom + 35}" text-anchor="middle" class="strong">mean m</text>')
    for start in range(len(paths[0]["mean"])):
        places = [at(one["mean"][start], one["scale"][start]) for one in paths]
        kind = "higher" if paths[-1]["mean"][start] > (LOW[1] + HIGH[1]) / 2 else "lower"
        line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path class="way {kind}" d="{line}"/>')
        (x, y), (u, v) = places[0], places[-1]
        parts.append(f'<circle class="way {kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')
        parts.append(f'<circle class="end {kind}" cx="{u:.1f}" cy="{v:.1f}" r="3.5"/>')
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" class="chart" aria-label="{escape(title)}">'
    return Markup(head + "".join(parts + words) + "</svg>")
