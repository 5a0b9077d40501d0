"""Settings become a recipe, an augmentation and a size; each default is what its sentence says."""

import dataclasses
import re
from typing import get_type_hints

import pytest
import torch
from tests.vision.training.made_up_training import Halves

from sightline.vision.data.examples import Example
from sightline.vision.training.live import Line, live
from sightline.vision.training.settings import (
    ADAMW_RATE,
    TrainClassify,
    TrainSegment,
    augmentation_of,
    crop_of,
    preparation_of,
    recipe_of,
)

CROP = (64, 96)


def test_defaults_are_as_the_help_says() -> None:
    segment = recipe_of(TrainSegment("data"), CROP)
    assert (segment.optimizer, segment.schedule, segment.learning_rate) == ("adamw", "cosine", ADAMW_RATE)
    assert (segment.weight_decay, segment.decay_everything, segment.warm_up) == (0.05, False, segment.steps // 60)
    poly = recipe_of(TrainSegment("data", recipe="sgd-poly"), CROP)
    assert (poly.optimizer, poly.schedule, poly.learning_rate, poly.weight_decay) == ("sgd", "poly", 1e-2, 5e-4)
    assert poly.warm_up == 0
    assert segment.losses.ohem_least == 8 * 64 * 96 // 16
    assert segment.losses.auxiliary == 0.4


def test_every_option_arrives() -> None:
    segment = TrainSegment(
        "data",
        steps=100,
        batch=6,
        accumulate=3,
        learning_rate=0.3,
        weight_decay=0.2,
        warm_up=7,
        clip=2.0,
        average=0.9,
        amp="bfloat16",
        smoothing=0.1,
        auxiliary=0.2,
        ohem=True,
        ohem_threshold=0.6,
        ohem_least=5,
        dice=0.7,
        category=0.8,
    )
    recipe = recipe_of(segment, CROP, (1.0, 2.0))
    shared = ("steps", "batch", "accumulate", "learning_rate", "weight_decay", "warm_up", "clip", "average", "amp")
    for name in shared:
        assert getattr(recipe, name) == getattr(segment, name)
    for name in ("smoothing", "auxiliary", "ohem", "ohem_threshold", "ohem_least", "dice", "category"):
        assert getattr(recipe.losses, name) == getattr(segment, name)
    assert recipe.losses.class_weights == (1.0, 2.0)
    classify = recipe_of(TrainClassify("data", mixup=0.8, cutmix=1.0, smoothing=0.1), CROP)
    assert (classify.mixup, classify.cutmix, classify.losses.smoothing) == (0.8, 1.0, 0.1)


def test_augmentation() -> None:
    segment = augmentation_of(TrainSegment("d", scale=(0.9, 1.1), flip=0.0, category_max_ratio=0.75), CROP, 7)
    assert (segment.window, segment.crop, segment.scale, segment.ignore) == ("scale", CROP, (0.9, 1.1), 7)
    assert (segment.flip, segment.category_max_ratio) == (0.0, 0.75)
    assert segment.brightness > 0
    assert augmentation_of(TrainSegment("d", colour=False), CROP, 255).brightness == 0
    classify = augmentation_of(TrainClassify("d", area=(0.5, 1.0), random_augment=2), CROP, 255)
    assert (classify.window, classify.area, classify.random_augment) == ("area", (0.5, 1.0), 2)
    assert (classify.brightness, classify.magnitude_spread) == (0.0, 0.5)


class Sized(Halves):
    """Of one height and width."""

    def __getitem__(self, index: int) -> Example:
        size = (75, 700)
        return Example(torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(size, dtype=torch.int64))


def test_the_crop_follows_from_the_first_image() -> None:
    assert crop_of(TrainSegment("d"), Sized()) == (64, 512)
    assert crop_of(TrainClassify("d", batch=8), Sized()) == (64, 224)
    assert crop_of(TrainSegment("d"), Halves()) == (9, 9)
    assert crop_of(TrainSegment("d", crop=(33, 40)), Halves()) == (33, 40)


def test_what_is_evaluated_is_what_is_predicted() -> None:
    assert preparation_of("segment", CROP, 16, 3) == dataclasses.replace(
        preparation_of("segment", CROP, 16, 255), ignore=3
    )
    assert preparation_of("segment", CROP, 16, 3).multiple == 16
    classify = preparation_of("classify", CROP, 1, 255)
    assert (classify.shorter_side, classify.crop) == (64, CROP)


def test_unknown_names_are_said() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'sgd': did you mean 'sgd-poly'"):
        recipe_of(TrainSegment("d", recipe="sgd"), CROP)


@pytest.mark.parametrize("kind", [TrainSegment, TrainClassify])
def test_every_option_has_a_sentence(kind: type) -> None:
    import inspect

    source = inspect.getsource(kind)
    for field in dataclasses.fields(kind):
        assert re.search(rf'\n    {field.name}: [^\n]+\n    """[A-Z0-9a-z].*[.\)]"""\n', source), field.name
    assert set(get_type_hints(kind)) == {field.name for field in dataclasses.fields(kind)}
    assert {"resume", "out", "data", "encoder"} <= set(get_type_hints(kind))


def test_the_line_says_how_far_how_fast_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([0.0, 2.0, 20.0])
    line = Line(100, lambda: next(seconds))
    assert line.words(41, None) == "step 41 of 100, 1 min 58 s left"  # resumed after 40: two seconds for one step
    row = {"step": 50, "loss": 0.5, "mean_iou": 0.25, "images_per_second": 12.34}
    expected = "step 50 of 100, loss 0.500, mean IoU 0.250, 12.3 images a second, 1 min 40 s left"
    assert line.words(50, row) == expected
    assert line.words(100, None) == "step 100 of 100, loss 0.500, mean IoU 0.250, 12.3 images a second"
    with live(2) as show:
        show(1, None)
        show(2, {"step": 2, "loss": 1.0})
    assert capsys.readouterr().out == "step 2 of 2, loss 1.000\n"
