"""A small made-up study for the tests of its page: canvases are real, numbers and networks are invented."""

import numpy as np
import torch

from sightline.ops.patterns import criss_cross, everything, field, window
from sightline.studies.long_range.scenes import Scene
from sightline.vision.built_in.canvases import CELL, TASKS, Canvases

FIELDS = {
    "deep convolutions": [window(3)] * 2,
    "criss-cross R=1": [criss_cross],
    "criss-cross R=2": [criss_cross] * 2,
    "non-local": [everything],
}
SCORES = {"deep convolutions": 0.17, "criss-cross R=1": 0.37, "criss-cross R=2": 0.97, "non-local": 0.99}
VERDICTS = {
    "deep convolutions": "cannot see",
    "criss-cross R=1": "can see but did not learn it in this budget",
    "criss-cross R=2": "learned",
    "non-local": "learned",
}
STRIDE = 4


def canvases(task="recall", digits=4, seed=0, cells=(4, 5)) -> Canvases:
    return TASKS[task](1, digits=digits, cells=cells, split="test", generator=torch.Generator().manual_seed(seed))


def scene_of(drawn: Canvases, seed=0, names=tuple(FIELDS)) -> Scene:
    """The canvas with networks that answer at random, look at random inside their fields, or have no attention."""
    rng = np.random.default_rng(seed)
    image = np.rint(255 * drawn.image[0].permute(1, 2, 0).numpy()).astype(np.uint8)
    truth = drawn.label[0].numpy()
    (h, w), (rows, columns) = truth.shape, drawn.cells
    size, per_cell = (h // STRIDE, w // STRIDE), CELL // STRIDE
    queries = size[0] * size[1]
    reach = np.zeros((len(names), queries, rows, columns), bool)
    looks = np.full((len(names), queries, *size), np.nan, np.float16)
    effect = np.zeros((len(names), queries, rows, columns), np.float16)
    for n, name in enumerate(names):
        for q in range(queries):
            seen = field(FIELDS[name], divmod(q, size[1]), size).numpy()
            reach[n, q] = seen.reshape(rows, per_cell, columns, per_cell).any((1, 3))
            if "convolutions" not in name:
                weights = rng.random(size) * seen
                looks[n, q] = weights / weights.sum()
            counts = rng.random((rows, columns)) * reach[n, q]
            effect[n, q] = counts / counts.sum()
    said = rng.integers(0, drawn.classes, (len(names), h, w))
    return Scene(image, truth, list(names), said, looks, reach, effect)


def results(names=tuple(FIELDS), groups=(("recall", 4),), seeds=1, finished=True, **more) -> dict:
    """Results with the schema of `results.json`."""
    rows = [
        {
            "task": task, "digits": digits, "network": name, "seed": seed, "score": SCORES[name], "ceiling": 0.5,
            "reach": 0.5, "loss": 1.0, "steps": 2, "seconds": 10.0 + seed, "parameters": 57_300, "flops": 1.5e9,
            "peak_memory": 4.5e7, "verdict": VERDICTS[name], "sentence": f"{name} says this.",
            "curve": [{"step": s, "seconds": 5.0 * s, "loss": 2.0 / (1 + s), "score": 0.1 * s} for s in range(3)],
        }
        for task, digits in groups for name in names for seed in range(seeds)
    ]  # fmt: skip
    summary = [
        {
            "task": task, "digits": digits, "network": name, "score_mean": SCORES[name],
            "score_low": SCORES[name] - 0.01, "score_high": SCORES[name] + 0.01, "seeds": seeds, "ceiling": 0.5,
            "verdict": VERDICTS[name], "sentence": f"{name} says this.", "parameters": 57_300, "flops": 1.5e9,
            "seconds": 10.0, "peak_memory": 4.5e7,
        }
        for task, digits in groups for name in names
    ]  # fmt: skip
    return {
        "study": "long-range", "command": "sightline study long-range --demo", "versions": {"torch": "2.13.0"},
        "machine": "two cores", "settings": {"steps": 2, "canvas": [4, 5]}, "chance": 0.1, "rows": rows,
        "summary": summary, "finished": finished,
    } | more  # fmt: skip
