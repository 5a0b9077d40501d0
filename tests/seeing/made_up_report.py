"""A report made up for the tests of the page: a photograph, a criss-cross set, round heats, two heads."""

import numpy as np

from sightline.seeing.report.contents import (
    Effect,
    HeadDistances,
    Layer,
    Look,
    Missing,
    Neurons,
    Picture,
    Report,
)
from sightline.seeing.report.page import png_bytes

H, W = 64, 96


def photograph(h=H, w=W):
    from PIL import Image
    from sklearn.datasets import load_sample_image

    return np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((w, h)))


def neurons(layer="head.cross", grid=(8, 12), side=8, shape="cross", heats=True, h=H, w=W, exact=True):
    rows, columns = range(grid[0]), range(grid[1])
    sets, maps, boxes = [], [], []
    y, x = np.mgrid[:h, :w]
    for r in rows:
        for c in columns:
            if shape == "cross":
                sets.append((y // (h // grid[0]) == r) | (x // (w // grid[1]) == c))
                boxes.append((0, 0, h, w))
            else:
                top, left = r * h // grid[0] - side, c * w // grid[1] - side
                bottom, right = (r + 1) * h // grid[0] + side, (c + 1) * w // grid[1] + side
                inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
                sets.append(inside & ((y + x) % 2 == 0) if shape == "holes" else inside)
                boxes.append((top, left, bottom, right))
            cy, cx = (r + 0.5) * h / grid[0], (c + 0.5) * w / grid[1]
            maps.append(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (0.12 * w) ** 2)) * sets[-1])
    return Neurons(
        layer,
        grid,
        tuple(rows),
        tuple(columns),
        (
            tuple((r + 0.5) * h / grid[0] for r in rows),
            tuple((c + 0.5) * w / grid[1] for c in columns),
        ),
        np.array(boxes, int),
        np.array(sets),
        exact,
        np.array(maps) if heats else None,
    )


def look(layer, keys=(8, 12), heads=2, h=H, w=W):
    rows, columns = range(keys[0]), range(keys[1])
    y, x = np.mgrid[: keys[0], : keys[1]]
    maps = []
    for k in range(heads):
        for r in rows:
            for c in columns:
                found = np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2.0 * (k + 1) ** 2))
                maps.append(found / found.sum())
    weights = np.array(maps).reshape(heads, -1, *keys)
    weights = np.concatenate([weights.mean(0, keepdims=True), weights])
    centres = (
        tuple((r + 0.5) * h / keys[0] for r in rows),
        tuple((c + 0.5) * w / keys[1] for c in columns),
    )
    distances = np.full((heads + 1, len(rows) * len(columns)), 20.0)
    return Look(
        layer, ("mean of the heads", *(f"head {k + 1}" for k in range(heads))), tuple(rows), tuple(columns), centres,
        weights, distances,
    )  # fmt: skip


def layers():
    return tuple(
        Layer(
            name, kind, (1, 8, *grid), grid, size, stride, padding, size, min(1.0, size[0] * size[1] / (H * W)), dense
        )
        for name, kind, grid, size, stride, padding, dense in (
            ("stem", "Conv2d", (32, 48), (7.0, 7.0), (2.0, 2.0), (3.0, 3.0), ()),
            ("stage1", "Sequential", (16, 24), (27.0, 27.0), (4.0, 4.0), (13.0, 13.0), ()),
            ("stage1.relu", "ReLU", (16, 24), (27.0, 27.0), (4.0, 4.0), (13.0, 13.0), ()),
            ("stage2", "Sequential", (8, 12), (131.0, 131.0), (8.0, 8.0), (65.0, 65.0), ()),
            ("head.cross", "CrissCross", (8, 12), (200.0, 200.0), (8.0, 8.0), (99.0, 99.0), ("fft <odd>",)),
        )
    )


def report(**changes):
    """The report with every part there; `changes` by name."""
    effects = {
        name: Effect(half, most, {"20": half / 2, "30": half, "50": 2 * half, "99": most})
        for name, half, most in (
            ("stem", 0.002, 0.006),
            ("stage1", 0.01, 0.05),
            ("stage2", 0.04, 0.2),
            ("head.cross", 0.05, 0.31),
        )
    }
    steps = (
        neurons("stem", (16, 24), 2, "box", False),
        neurons("stage1", (8, 12), 10, "holes", False),
        neurons("stage2", (4, 6), 20, "box", False, exact=False),
        neurons("head.cross", heats=False),
    )
    values = {
        "model": "made-up & small",
        "image": "china.jpg",
        "photo": photograph(),
        "kind": "structural",
        "layers": layers(),
        "main": ("stem", "stage1", "stage2", "head.cross"),
        "effects": effects,
        "neurons": neurons(),
        "heat_note": "",
        "steps": steps,
        "looks": (look("blocks.0.attention"), look("blocks.1.attention")),
        "distances": HeadDistances(
            ("blocks.0.attention", "blocks.1.attention"), ((12.0, 30.0), (28.0, 36.5)), 34.2, ((2.0, 4.0), (5.0, 6.0))
        ),
        "kernels": (
            Picture(
                "kernels", "First layer", "8 filters of 7 \u00d7 7", png_bytes(photograph(64, 64)), "a grid of filters"
            ),
        ),
        "features": Missing("No feature was asked for: --features draws them."),
        "warnings": (),
        "facts": (("torch", "2.13.0"), ("size", "64 \u00d7 96")),
        "command": "sightline see made-up --image china.jpg",
    }
    return Report(**{**values, **changes})
