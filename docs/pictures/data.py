"""Data that needs no download: `python docs/pictures/data.py` draws data.png, each image beside its mask."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from sightline.vision.built_in.canvases import CanvasExamples
from sightline.vision.built_in.digits import Digits
from sightline.vision.built_in.frames import Frames
from sightline.vision.built_in.shapes import Shapes
from sightline.vision.data.examples import Examples
from sightline.vision.drawing.palette import UNLABELLED, palette

ACROSS = 4
ROWS: dict[str, Examples] = {
    "Shapes": Shapes(size=(96, 96)),
    "Frames": Frames(seed=3),
    'CanvasExamples("recall")': CanvasExamples("recall"),
    'CanvasExamples("key-class")': CanvasExamples("key-class"),
    "Digits": Digits(),
}


def main() -> None:
    """Draw the picture and print where it lies."""
    figure, axes = plt.subplots(len(ROWS), 2 * ACROSS, figsize=(12, 8.2), height_ratios=[1.1, 1.1, 1.1, 1.1, 0.9])
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (title, examples) in zip(axes, ROWS.items(), strict=True):
        line[0].set_title(title, loc="left", fontsize=10)
        for index in range(ACROSS if examples.task == "segment" else 2 * ACROSS):
            image, target = examples[index]
            if examples.task == "classify":
                line[index].imshow(image.permute(1, 2, 0).numpy())
                answer = examples.classes[int(target)]
                line[index].set_title(answer if index else f"{title}: {answer}", loc="left", fontsize=10)
                continue
            line[2 * index].imshow(image.permute(1, 2, 0).numpy())
            mask = target.numpy()
            colours = np.vstack([palette(examples.classes), UNLABELLED]).astype(np.uint8)
            line[2 * index + 1].imshow(colours[np.where(mask == examples.ignore, len(examples.classes), mask)])
    figure.tight_layout(pad=0.3)
    path = Path(__file__).parent / "data.png"
    figure.savefig(path, dpi=75)
    print(path)


if __name__ == "__main__":
    main()
