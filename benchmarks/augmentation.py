"""Time of one augmented crop, and of the ways to do its parts: PyTorch's uint8 resizing, Pillow's, floats; colours.

    python benchmarks/augmentation.py

A crop of 512 x 512 from a Cityscapes-sized image of noise, 1024 x 2048, one thread, process time; the ways take turns.
The tests of augmentation run first; on red there is no table.

Left out: reading and decoding files.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance

from sightline.bench import machine
from sightline.bench.measure import interleave, spread
from sightline.run.files import write_whole
from sightline.vision.augmentation.augment import Augmentation, augment
from sightline.vision.augmentation.colour import change_colour
from sightline.vision.augmentation.windows import Window, cut_image
from sightline.vision.data.examples import Example

ROOT = Path(__file__).parent.parent
TESTS = [f"tests/vision/augmentation/test_{name}.py" for name in ("augment", "windows", "colour", "random_augment")]
STILL = Augmentation(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
FILL = (124, 116, 104)


def pillow_resize(image: torch.Tensor, side: int) -> torch.Tensor:
    """The same window through Pillow."""
    window = Image.fromarray(np.ascontiguousarray(image[:, :side, :side].permute(1, 2, 0).numpy()))
    return torch.from_numpy(np.array(window.resize((512, 512), Image.Resampling.BILINEAR))).permute(2, 0, 1)


def float_resize(image: torch.Tensor, side: int) -> torch.Tensor:
    """The same window as floats."""
    window = image[None, :, :side, :side].float()
    return F.interpolate(window, (512, 512), mode="bilinear", antialias=True).round().byte()


def pillow_colour(picture: Image.Image) -> Image.Image:
    """Brightness, contrast and saturation one after the other."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = change(picture).enhance(1.2)
    return picture


def pillow_hue(picture: Image.Image) -> Image.Image:
    """Hue around the hexagon of HSV."""
    hue, saturation, value = picture.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda level: (level + 10) % 256), saturation, value)).convert("RGB")


def ways() -> dict[str, Callable[[], object]]:
    """Everything that is timed."""
    generator = torch.Generator().manual_seed(0)
    # As files are read: red, green and blue side by side.
    pixels = torch.randint(0, 256, (1024, 2048, 3), dtype=torch.uint8, generator=generator)
    image = pixels.permute(2, 0, 1)
    example = Example(image, torch.randint(0, 19, (1024, 2048), generator=generator))
    crop = image[:, :512, :512].contiguous()
    picture = Image.fromarray(pixels[:512, :512].contiguous().numpy())
    timed: dict[str, Callable[[], object]] = {
        "crop of image and mask, scale 0.5 to 2, flip": lambda: augment(example, STILL, generator),
        "with colour (the defaults)": lambda: augment(example, Augmentation(), generator),
        "with colour, category_max_ratio 0.75": lambda: augment(
            example, Augmentation(category_max_ratio=0.75), generator
        ),
        "with RandAugment, 2 changes": lambda: augment(example, replace(STILL, random_augment=2), generator),
        "colours: one affine map, hue as well": lambda: change_colour(
            crop, brightness=1.2, contrast=1.2, saturation=1.2, hue=0.05
        ),
        "colours: Pillow, without hue": lambda: pillow_colour(picture),
        "colours: Pillow, hue alone": lambda: pillow_hue(picture),
    }
    for side in (1024, 512 * 3 // 4, 256):
        name = f"window of {side} to 512"
        window = Window(0, 0, side, side)
        timed[f"{name}: PyTorch, uint8"] = lambda w=window: cut_image(image, w, (512, 512), FILL)
        timed[f"{name}: Pillow"] = lambda s=side: pillow_resize(image, s)
        timed[f"{name}: PyTorch, float32"] = lambda s=side: float_resize(image, s)
    return timed


def main() -> None:
    """Test, time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--skip-tests", action="store_true", help="for a quick look; nothing is written")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if not asked.skip_tests and subprocess.run([sys.executable, "-m", "pytest", *TESTS], cwd=ROOT).returncode:
        sys.exit("the tests are red: no figures")
    about = machine.provenance()
    seconds = interleave(ways(), asked.repetitions)
    lines = ["# Augmentation: milliseconds of one thread", "", f"    {about['command']}", ""]
    lines += [f"Commit {about['commit']}; {about['machine']}; {about['load']}.", "", "| what | ms | quartiles |"]
    lines.append("|---|---:|---:|")
    for name, values in seconds.items():
        one = spread([1e3 * value for value in values])
        lines.append(f"| {name} | {one.median:.2f} | {one.low:.2f} to {one.high:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if not asked.skip_tests:
        write_whole(ROOT / "benchmarks" / "results" / "augmentation.md", text)


if __name__ == "__main__":
    main()
