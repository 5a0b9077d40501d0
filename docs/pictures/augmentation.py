"""What augmentation makes of one photograph: `python docs/pictures/augmentation.py` draws augmentation.jpg.

The photograph ships with scikit-learn; its mask, flower and all else, is drawn by colour, roughly, and shown as a line
around the flower. Where nothing counts the picture is striped.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

from sightline.vision.augmentation.augment import Augmentation, augment, for_classification
from sightline.vision.augmentation.mixing import cutmix, mixup
from sightline.vision.data.examples import Example

ACROSS = 6
CROP = (256, 256)
SEED = 14
ROWS = {
    "scale, crop, flip, colour": Augmentation(crop=CROP),
    "the same, smaller, with fill": Augmentation(crop=CROP, scale=(0.3, 0.5)),
    "with RandAugment, mask as well": Augmentation(crop=CROP, scale=(0.5, 1.0), random_augment=2),
    "for classification": for_classification(CROP),
}


def photograph(name: str) -> Example:
    """The photograph and, where red is much more than green, its flower."""
    pixels = load_sample_image(name)
    redness = pixels[..., 0].astype(int) - pixels[..., 1]
    mask = Image.fromarray((255 * (redness > 15)).astype(np.uint8))
    mask = np.array(mask.filter(ImageFilter.MedianFilter(15))) > 127
    return Example(torch.from_numpy(pixels.copy()).permute(2, 0, 1), torch.from_numpy(mask).long())


def overlay(example: Example) -> np.ndarray:
    """A line around class 1, stripes over what does not count."""
    picture = example.image.permute(1, 2, 0).numpy().copy()
    mask = example.target.numpy()
    edge = np.zeros(mask.shape, dtype=bool)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    thick = edge | np.roll(edge, 1, 0) | np.roll(edge, 1, 1)
    picture[thick] = (0, 255, 255)
    y, x = np.indices(mask.shape)
    picture[(mask == 255) & ((x + y) // 6 % 3 == 0)] = (70, 70, 70)
    return picture


def again(seed: int) -> torch.Generator:
    """A generator by which most images meet one of the other class."""
    return torch.Generator().manual_seed(seed)


def main() -> None:
    """Draw the picture and print where it lies."""
    flower, china = photograph("flower.jpg"), photograph("china.jpg")
    generator = torch.Generator().manual_seed(0)
    figure, axes = plt.subplots(len(ROWS) + 2, ACROSS, figsize=(2 * ACROSS, 2.15 * (len(ROWS) + 2)))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (title, settings) in zip(axes, ROWS.items(), strict=False):
        line[0].set_title(title, loc="left", fontsize=10)
        for axis in line:
            if settings.window == "area":
                axis.imshow(
                    augment(Example(flower.image, torch.tensor(0)), settings, generator).image.permute(1, 2, 0).numpy()
                )
            else:
                axis.imshow(overlay(augment(flower, settings, generator)))
    whole = Augmentation(
        crop=CROP, window="area", area=(0.5, 1.0), brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0
    )
    images = torch.stack(
        [
            augment(Example((flower, china)[i % 2].image, torch.tensor(i % 2)), whole, generator).image
            for i in range(ACROSS)
        ]
    )
    target = torch.arange(ACROSS) % 2
    for line, title, mixed in (
        (axes[-2], "mixup", mixup(images / 255, target, classes=2, alpha=0.8, generator=again(SEED))),
        (axes[-1], "CutMix", cutmix(images / 255, target, classes=2, alpha=1.0, generator=again(SEED))),
    ):
        for i, axis in enumerate(line):
            axis.imshow(mixed[0][i].permute(1, 2, 0).numpy())
            axis.set_title(f"{title if i == 0 else ''} {mixed[1][i, 0]:.2f} flower", loc="left", fontsize=10)
    figure.tight_layout()
    path = Path(__file__).parent / "augmentation.jpg"
    figure.savefig(path, dpi=80, pil_kwargs={"quality": 82})
    print(path)


if __name__ == "__main__":
    main()
