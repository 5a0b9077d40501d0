"""Canvases as examples: the same pixels and labels as the canvases, larger."""

import pytest
import torch

from sightline.vision.built_in.canvases import CanvasExamples


@pytest.mark.parametrize("canvas", ["recall", "key-class"])
def test_every_pixel_becomes_a_square_and_keeps_its_label(canvas: str) -> None:
    examples = CanvasExamples(canvas, 3, digits=3, cells=(3, 4), scale=2)
    assert examples.size == (48, 64)
    for index in range(3):
        drawn = examples.draw(index)
        image, mask = examples[index]
        assert image.shape == (3, 48, 64)
        assert len(examples.classes) == drawn.classes
        for y in range(48):
            for x in range(64):
                label = int(drawn.label[0, y // 2, x // 2])
                assert int(mask[y, x]) == (255 if label == -100 else label)
        assert (
            image.float() / 255 - drawn.image[0].repeat_interleave(2, 1).repeat_interleave(2, 2)
        ).abs().max() < 0.003
        assert 0 < (mask != 255).float().mean() < 0.5


@pytest.mark.parametrize("canvas", ["recall", "key-class"])
def test_held_out_digits_stay_held_out(canvas: str) -> None:
    for split, held in (("train", False), ("val", True), ("test", True)):
        examples = CanvasExamples(canvas, 20, split=split)
        samples = torch.cat([examples.draw(index).digit_sample for index in range(20)])
        assert (samples % 5 == 0).all() if held else (samples % 5 != 0).all()
    val, test = CanvasExamples(canvas, 1, split="val")[0], CanvasExamples(canvas, 1, split="test")[0]
    assert not val.image.equal(test.image)


def test_number_and_seed_decide() -> None:
    image = CanvasExamples(count=4, seed=1)[2].image
    assert image.equal(CanvasExamples(count=9, seed=1)[2].image)
    assert not image.equal(CanvasExamples(count=4, seed=2)[2].image)
    assert not image.equal(CanvasExamples(count=4, seed=1)[3].image)


def test_what_does_not_fit_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="a canvas of 2 x 3 cells holds 2 to 6 things, got 16"):
        CanvasExamples(cells=(2, 3))
    with pytest.raises(ValueError, match="unknown canvas 'recal': did you mean 'recall'"):
        CanvasExamples("recal")
    with pytest.raises(ValueError, match="canvases and scale are 1 or more, got count=5, scale=0"):
        CanvasExamples(count=5, scale=0)
