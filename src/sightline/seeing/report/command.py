"""`sightline see MODEL --image PHOTO --out DIR`: the page of what a network can see, does see and looks at.

Writes `report.html` (one self-contained file), `numbers.json` (what the page says, at full precision), `field.png` and
`strip.png` (the central neuron) and a PNG for every picture of kernels and features.

Left out: several networks on one page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from tyro.conf import Positional

from sightline.run.device import choose_device
from sightline.seeing.report.gather import Wanted, gather
from sightline.seeing.report.model import MEAN, STD, Colour, load_model
from sightline.seeing.report.photo import Photo, as_input, check_takes, read_photo, sample_photo
from sightline.seeing.report.write import write_report

SIZE = (224, 224)


@dataclass(frozen=True)
class See:
    """Settings of `sightline see`."""

    model: Positional[str]
    """A built-in name, `package.module:factory`, an object with arguments as JSON, or the folder of a run."""
    image: Path | None = None
    """Image to show it; by default scikit-learn's sample photograph."""
    out: Path = Path("runs/see")
    """Folder to write to."""
    size: tuple[int, int] | None = None
    """Height and width at which the image is shown; by default what a run was trained on, else 224 x 224."""
    layer: str | None = None
    """Layer whose neurons are followed, by its name as in `network.named_modules()`; by default the last map."""
    images: Path | None = None
    """Folder of images whose patches are searched for what the layer's channels respond to most."""
    values: bool = False
    """Whether the theoretical field is value-aware (these weights, this image) instead of structural (any weights)."""
    features: bool = False
    """Whether to make inputs that excite the layer's channels, and their projections back (slower)."""
    neurons: int = 14
    """Most rows, and most columns, of neurons that are followed."""
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1"."""
    trust: bool = False
    """Whether the model may come from outside of sightline, which runs its code."""


def run(settings: See, names: Mapping[str, Any] | None = None) -> None:
    """Write the page and say where it is. `names` are the built-in ones, each with its object and arguments.

    Raises:
        ValueError: the model, the image, the size or the layer is wrong; the sentence says how.
        OSError: a file is not there or cannot be written.
    """
    named = load_model(settings.model, names or {}, trust=settings.trust)
    size = settings.size or named.size or SIZE
    photo = sample_photo(size) if settings.image is None else read_photo(settings.image, size)
    page = see(
        named.network.to(choose_device(settings.device)),
        photo,
        settings.out,
        name=named.name,
        layer=settings.layer,
        images=settings.images,
        values=settings.values,
        features=settings.features,
        neurons=settings.neurons,
        mean=named.mean,
        std=named.std,
        command=command_of(settings),
        trained=named.trained,
    )
    print(f"what it sees: {page}")


def command_of(settings: See) -> str:
    """The command that writes this page again."""
    words = ["sightline see", settings.model if "{" not in settings.model else f"'{settings.model}'"]
    for name in ("image", "layer", "images"):
        value = getattr(settings, name)
        words += [] if value is None else [f"--{name} {value}"]
    words += [] if settings.size is None else [f"--size {settings.size[0]} {settings.size[1]}"]
    words += [f"--{name}" for name in ("values", "features", "trust") if getattr(settings, name)]
    words += [] if settings.neurons == 14 else [f"--neurons {settings.neurons}"]
    return " ".join([*words, f"--out {settings.out}"])


def see(
    network: nn.Module,
    image: Photo | Path | None,
    out: Path,
    *,
    name: str | None = None,
    size: tuple[int, int] = SIZE,
    layer: str | None = None,
    images: Path | None = None,
    values: bool = False,
    features: bool = False,
    neurons: int = 14,
    mean: Colour = MEAN,
    std: Colour = STD,
    command: str = "sightline.seeing.report.see",
    trained: bool = False,
) -> Path:
    """Write the page of a network on an image into the folder `out`, and return the page's path.

    Args:
        network: any module that takes an image [1, c, h, w]; it is left as it was.
        image: a file, a photo that was read already, or None for scikit-learn's sample photograph.
        out: folder to write to; it is made where it is not there.
        name: how the page calls the network; its class where None.
        size: height and width at which a file is shown.
        layer: whose neurons are followed; the last layer whose output lies over the image where None.
        images: folder of images that are searched for the channels' favourite patches.
        values: whether the theoretical field is value-aware.
        features: whether inputs are optimised for the layer's channels.
        neurons: most rows, and most columns, of neurons that are followed.
        mean: of the images, by which they are normalised.
        std: as well.
        command: what the page says wrote it.
        trained: whether the weights are those of a training run, for the page to say.

    Raises:
        ValueError: the network takes no such image, or the layer does not exist; the sentence suggests what does.
        OSError: a file is not there or cannot be written.
    """
    photo = sample_photo(size) if image is None else image if isinstance(image, Photo) else read_photo(image, size)
    called = type(network).__name__ if name is None else name
    shown = as_input(photo.pixels, network, mean, std)
    check_takes(network, shown, called)
    wanted = Wanted(layer, images, values, features, neurons, mean, std)
    report = gather(network, shown, photo, called, wanted, command=command, trained=trained)
    return write_report(report, Path(out))
