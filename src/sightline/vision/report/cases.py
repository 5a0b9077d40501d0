"""The worst examples of a report as pictures: image, prediction, truth and errors; for a class, what it was told from.

Left out: which examples are the worst (`judging.py`).
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from sightline.vision.drawing.pages import picture_uri
from sightline.vision.drawing.palette import palette
from sightline.vision.drawing.pictures import Picture, heat, overlay, wrong
from sightline.vision.prediction.predict_image import as_picture
from sightline.vision.report.judging import Case, Judgement

PANEL = 360  # pixels: larger pictures are made smaller


def case_panels(judged: Judgement, classes: Sequence[str], task: str) -> list[dict[str, Any]]:
    """Each of the worst examples with its pictures, for the page's template."""
    out = []
    for case in judged.worst:
        panels = _mask_panels(case, classes, judged.ignore) if task == "segment" else _class_panels(case)
        out.append({"name": case.name, "score": f"{case.score:.2f}", "sentence": case.sentence, "panels": panels})
    return out


def _mask_panels(case: Case, classes: Sequence[str], ignore: int) -> list[dict[str, Any]]:
    image, colours = as_picture(case.image), palette(classes)
    said, truth = case.said.numpy(), case.truth.numpy()
    return [
        _panel("image", image),
        _panel("prediction", overlay(image, said, colours, 0.65)),
        _panel("truth", overlay(image, np.where(truth == ignore, -1, truth), colours, 0.65)),
        _panel("errors", wrong(image, said, truth, ignore)),
    ]


def _class_panels(case: Case) -> list[dict[str, Any]]:
    image = as_picture(case.image)
    panels = [_panel("image", image)]
    if case.look is not None:
        panels.append(_panel(case.look_name, heat(image, case.look.numpy())))
    return panels


def _panel(name: str, picture: Picture) -> dict[str, Any]:
    from PIL import Image

    whole, file = Image.fromarray(np.ascontiguousarray(picture)), io.BytesIO()
    small = max(whole.size) <= PANEL
    if small:  # every pixel as it is
        whole.save(file, "PNG", optimize=True)
    else:
        whole.thumbnail((PANEL, PANEL), Image.Resampling.BOX)
        whole.save(file, "JPEG", quality=88)
    uri = picture_uri(file.getvalue(), "image/png" if small else "image/jpeg")
    return {"name": name, "uri": uri, "pixelated": max(whole.size) < PANEL // 2}
