"""`sightline train segment` and `sightline train classify`: their settings, and what they mean for a training.

Fields are the command's options. What is None follows from the recipe or the data; `recipe_of` and `augmentation_of`
say how. The training itself is `run_training.py`.

Left out: options of `Recipe` that only a program needs (momentum, betas, the power of the decay).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.ops.arguments import choose
from sightline.vision.augmentation.augment import Augmentation
from sightline.vision.augmentation.prepare import Preparation
from sightline.vision.data.examples import Examples
from sightline.vision.training.recipes import Losses, Recipe, adamw_cosine, sgd_poly

# What a laptop without a GPU trains in minutes; larger networks are for those who have weights or time.
MASK_ENCODER = '{"object": "sightline.models.unet:UNet", "arguments": {"width": 16, "growth": 2}}'
MASK_HEAD = "sightline.models.heads:LinearHead"
CLASS_ENCODER = '{"object": "sightline.models.resnet:ResNet", "arguments": {"depth": 18}}'
RECIPES = ("sgd-poly", "adamw-cosine")
ADAMW_RATE = 1e-3  # DeiT's for a batch of 1024; small networks from scratch bear it at small batches as well
WEIGHINGS = ("none", "enet", "inverse", "median_frequency")


@dataclass(frozen=True)
class TrainSegment:
    """Settings of `sightline train segment`: a network learns to give every pixel its class."""

    data: str
    """Folder of images and masks, or package.module:object."""
    encoder: str = MASK_ENCODER
    """The network that makes a map of an image: package.module:object, or JSON with its arguments."""
    head: str = MASK_HEAD
    """What makes classes of the map, in the same way."""
    out: Path = Path("runs/segment")
    """Run folder: config, metrics, checkpoint, report."""
    resume: bool = False
    """Go on with the run that lies there, to the same result as if it had never stopped."""
    steps: int = 2000
    """Updates of the weights."""
    batch: int = 8
    """Images of an update, over all parts and processes."""
    accumulate: int = 1
    """Parts of a batch that go through the network one after the other: the same update with less memory."""
    crop: tuple[int, int] | None = None
    """Height and width of what is learnt from; by default the first image's, at most 512, in multiples of 32."""
    recipe: str = "adamw-cosine"
    """sgd-poly (CCNet's) or adamw-cosine (DeiT's)."""
    learning_rate: float | None = None
    """The highest rate; by default 0.01 (sgd-poly) or 0.001 (adamw-cosine)."""
    weight_decay: float | None = None
    """By default 0.0005 (sgd-poly) or 0.05 (adamw-cosine, not of norms, biases and tables)."""
    warm_up: int | None = None
    """Updates in which the rate grows; by default none (sgd-poly) or a sixtieth (adamw-cosine)."""
    clip: float | None = None
    """Largest norm of the gradient."""
    average: float | None = None
    """Decay of a moving average of the weights (0.999 say), which then is what is evaluated and loaded."""
    amp: str = "none"
    """Mixed precision: none, auto, bfloat16, float16 (CUDA)."""
    drop_path: float = 0.0
    """Probability of leaving out a branch of a Vision Transformer's last block (0.1 from scratch)."""
    smoothing: float = 0.0
    """Label smoothing."""
    auxiliary: float | None = None
    """Factor of an auxiliary head's loss; by default 0.4 where the encoder has several stages; 0 for no such head."""
    ohem: bool = False
    """Whether only hard pixels count."""
    ohem_threshold: float = 0.7
    """Probability of the true class up to which a pixel is hard."""
    ohem_least: int | None = None
    """Pixels of a batch that count at least; by default a sixteenth of them."""
    dice: float = 0.0
    """Factor of the Dice loss."""
    category: float = 0.0
    """Factor of the category-consistent loss."""
    class_weights: str = "none"
    """What pixels weigh by the frequency of their class: none, enet, inverse, median_frequency."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Least and largest magnification of the images."""
    flip: float = 0.5
    """Probability of the mirror image."""
    colour: bool = True
    """Whether colours are changed a little."""
    category_max_ratio: float = 1.0
    """A crop in which one class has a larger part is placed again, up to ten times (0.75 is usual; 1: any crop)."""
    layout: str = "auto"
    """How the folder is laid out: auto, folder, ade20k, cityscapes, voc, list."""
    classes: tuple[str, ...] = ()
    """Names of the classes, where the data does not say them."""
    ignore: int = 255
    """The label in masks that does not count."""
    val: str = "val"
    """The part of the data that is evaluated; '' for none."""
    weights: Path | None = None
    """File of published weights for the encoder."""
    check: bool = True
    """Whether every file is looked at before the training."""
    report_every: int = 20
    """Steps between rows of metrics."""
    evaluate_every: int = 200
    """Steps between evaluations."""
    save_every: int = 200
    """Steps between checkpoints."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    threads: int = 0
    """Threads of the CPU; 0: PyTorch's choice."""
    workers: int = 2
    """Processes that read and augment; 0: none beside the one that trains."""
    seed: int = 0
    """Of everything that is random."""
    tensorboard: bool = False
    """Whether TensorBoard's event files are written as well."""
    trust: bool = False
    """Whether objects from outside of sightline may be imported, which runs their code."""


@dataclass(frozen=True)
class TrainClassify:
    """Settings of `sightline train classify`: a network learns to give every image its class."""

    data: str
    """Folder with one folder of images per class, or package.module:object."""
    encoder: str = CLASS_ENCODER
    """The network that makes a map of an image: package.module:object, or JSON with its arguments."""
    out: Path = Path("runs/classify")
    """Run folder: config, metrics, checkpoint, report."""
    resume: bool = False
    """Go on with the run that lies there, to the same result as if it had never stopped."""
    steps: int = 2000
    """Updates of the weights."""
    batch: int = 32
    """Images of an update, over all parts and processes."""
    accumulate: int = 1
    """Parts of a batch that go through the network one after the other: the same update with less memory."""
    crop: tuple[int, int] | None = None
    """Height and width of what is learnt from; by default the first image's, at most 224, in multiples of 32."""
    recipe: str = "adamw-cosine"
    """sgd-poly (CCNet's) or adamw-cosine (DeiT's)."""
    learning_rate: float | None = None
    """The highest rate; by default 0.01 (sgd-poly) or 0.001 (adamw-cosine)."""
    weight_decay: float | None = None
    """By default 0.0005 (sgd-poly) or 0.05 (adamw-cosine, not of norms, biases and tables)."""
    warm_up: int | None = None
    """Updates in which the rate grows; by default none (sgd-poly) or a sixtieth (adamw-cosine)."""
    clip: float | None = None
    """Largest norm of the gradient."""
    average: float | None = None
    """Decay of a moving average of the weights (0.999 say), which then is what is evaluated and loaded."""
    amp: str = "none"
    """Mixed precision: none, auto, bfloat16, float16 (CUDA)."""
    drop_path: float = 0.0
    """Probability of leaving out a branch of a Vision Transformer's last block (0.1 from scratch)."""
    smoothing: float = 0.0
    """Label smoothing (0.1 for DeiT)."""
    mixup: float = 0.0
    """Alpha of mixup (0.8 for DeiT); 0: none."""
    cutmix: float = 0.0
    """Alpha of CutMix (1 for DeiT); 0: none."""
    class_weights: str = "none"
    """What images weigh by the frequency of their class: none, enet, inverse."""
    area: tuple[float, float] = (0.08, 1.0)
    """Least and largest part of an image that is shown."""
    flip: float = 0.5
    """Probability of the mirror image."""
    colour: bool = True
    """Whether colours are changed a little."""
    random_augment: int = 0
    """Changes by RandAugment (2 for DeiT), which then takes the place of `colour`."""
    layout: str = "auto"
    """How the folder is laid out."""
    classes: tuple[str, ...] = ()
    """Names of the classes, where the data does not say them."""
    val: str = "val"
    """The part of the data that is evaluated; '' for none."""
    weights: Path | None = None
    """File of published weights for the encoder."""
    check: bool = True
    """Whether every file is looked at before the training."""
    report_every: int = 20
    """Steps between rows of metrics."""
    evaluate_every: int = 200
    """Steps between evaluations."""
    save_every: int = 200
    """Steps between checkpoints."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    threads: int = 0
    """Threads of the CPU; 0: PyTorch's choice."""
    workers: int = 2
    """Processes that read and augment; 0: none beside the one that trains."""
    seed: int = 0
    """Of everything that is random."""
    tensorboard: bool = False
    """Whether TensorBoard's event files are written as well."""
    trust: bool = False
    """Whether objects from outside of sightline may be imported, which runs their code."""


def run_segment(settings: TrainSegment) -> None:
    """Train to segment; see `run_training`."""
    from sightline.vision.training.run_training import run_training

    run_training(settings)


def run_classify(settings: TrainClassify) -> None:
    """Train to classify; see `run_training`."""
    from sightline.vision.training.run_training import run_training

    run_training(settings)


def recipe_of(
    settings: TrainSegment | TrainClassify, crop: tuple[int, int], weights: tuple[float, ...] | None = None
) -> Recipe:
    """The recipe that the settings ask for.

    Args:
        settings: Of the command.
        crop: Height and width of what is learnt from.
        weights: Of the classes.

    Raises:
        ValueError: a number out of its range, or an unknown name.
    """
    choose("recipe", settings.recipe, RECIPES)
    losses = Losses(smoothing=settings.smoothing, class_weights=weights)
    changes: dict[str, Any] = {
        "accumulate": settings.accumulate,
        "clip": settings.clip,
        "average": settings.average,
        "amp": settings.amp,
    }
    if isinstance(settings, TrainSegment):
        least = max(settings.batch * crop[0] * crop[1] // 16, 1) if settings.ohem_least is None else settings.ohem_least
        losses = replace(
            losses,
            ohem=settings.ohem,
            ohem_threshold=settings.ohem_threshold,
            ohem_least=least,
            dice=settings.dice,
            category=settings.category,
        )
        if settings.auxiliary is not None:
            losses = replace(losses, auxiliary=settings.auxiliary)
    else:
        changes |= {"mixup": settings.mixup, "cutmix": settings.cutmix}
    for name in ("learning_rate", "weight_decay", "warm_up"):
        if getattr(settings, name) is not None:
            changes[name] = getattr(settings, name)
    if settings.recipe == "sgd-poly":
        return sgd_poly(settings.steps, settings.batch, losses=losses, **changes)
    return adamw_cosine(settings.steps, settings.batch, losses=losses, **{"learning_rate": ADAMW_RATE, **changes})


def crop_of(settings: TrainSegment | TrainClassify, examples: Examples) -> tuple[int, int]:
    """Height and width of what is learnt from."""
    if settings.crop is not None:
        return settings.crop
    most = 512 if isinstance(settings, TrainSegment) else 224
    h, w = (min(side, most) for side in examples[0].image.shape[-2:])
    return (h if h < 32 else h // 32 * 32), (w if w < 32 else w // 32 * 32)


def augmentation_of(settings: TrainSegment | TrainClassify, crop: tuple[int, int], ignore: int) -> Augmentation:
    """What is drawn for each example."""
    changed = Augmentation(crop=crop, flip=settings.flip, ignore=ignore)
    if isinstance(settings, TrainSegment):
        changed = replace(changed, scale=settings.scale, category_max_ratio=settings.category_max_ratio)
    else:
        spread = 0.5 if settings.random_augment else 0.0
        changed = replace(
            changed,
            window="area",
            area=settings.area,
            random_augment=settings.random_augment,
            magnitude_spread=spread,
        )
    if settings.colour and not changed.random_augment:
        return changed
    return replace(changed, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)


def preparation_of(task: str, crop: tuple[int, int], multiple: int, ignore: int) -> Preparation:
    """What happens to an example that is evaluated: the same as `sightline predict` does."""
    if task == "classify":
        return Preparation(shorter_side=min(crop), crop=crop)
    return Preparation(multiple=multiple, ignore=ignore)
