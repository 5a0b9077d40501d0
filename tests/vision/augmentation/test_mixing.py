"""Mixup and CutMix against what their definitions say of every pixel and target."""

import math

import numpy as np
import pytest
import torch

from sightline.vision.augmentation.mixing import cutmix, mix, mixup

CLASSES = 5


def batch(b: int = 6, h: int = 9, w: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is the number i everywhere, so that a mixture says of what it is made."""
    images = torch.arange(b, dtype=torch.float32)[:, None, None, None].expand(b, 3, h, w).clone()
    return images, torch.arange(b) % CLASSES


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(4))
def test_mixup_s_targets_say_what_the_pixels_are_made_of(seed):
    one_hot = torch.eye(6)  # six classes for six images: what is in the target is in the image
    images, _ = batch()
    mixed, soft = mixup(images, torch.arange(6), classes=6, alpha=1.0, generator=generator(seed))
    torch.testing.assert_close(mixed[:, 0, 0, 0], soft @ torch.arange(6.0))
    assert (mixed == mixed[:, :1, :1, :1]).all()
    torch.testing.assert_close(soft.sum(1), torch.ones(6))
    assert ((soft > 0).sum(1) <= 2).all()
    again, from_soft = mixup(images, one_hot, classes=6, alpha=1.0, generator=generator(seed))
    assert torch.equal(again, mixed)
    torch.testing.assert_close(from_soft, soft)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_s_targets_are_the_exact_parts_of_the_pixels(seed):
    images, _ = batch()
    mixed, soft = cutmix(images, torch.arange(6), classes=6, alpha=1.0, generator=generator(seed))
    assert (mixed == mixed[:, :1]).all()
    for i in range(6):
        for j in range(6):
            assert soft[i, j].item() == pytest.approx(int((mixed[i, 0] == j).sum()) / (9 * 12), abs=1e-7)
        pasted = mixed[i, 0] != i
        rows, columns = pasted.any(1).nonzero()[:, 0], pasted.any(0).nonzero()[:, 0]
        if len(rows):  # one box without holes
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_partners_are_the_same_for_images_and_targets_and_every_one_is_used_once():
    images, _ = batch()
    _, soft = mixup(images, torch.arange(6), classes=6, alpha=1.0, generator=generator(3))
    torch.testing.assert_close(((soft > 0).sum(0) >= 1), torch.ones(6, dtype=torch.bool))
    _, soft = cutmix(images, torch.arange(6), classes=6, alpha=1.0, generator=generator(3))
    partner = (soft * ~torch.eye(6, dtype=torch.bool)).argmax(1)[(soft.diagonal() < 1)]
    assert len(set(partner.tolist())) == len(partner)


def test_the_mixture_is_beta_distributed():
    images = torch.zeros(4000, 1, 1, 1)
    images[::2] = 1
    target = torch.arange(4000) % 2
    _, soft = mixup(images, target, classes=2, alpha=0.3, generator=generator(0))
    kept = soft.gather(1, target[:, None])[:, 0]
    crossed = soft[(kept > 0) & (kept < 1)]
    first = crossed[:, 0].numpy()
    # Var of Beta(a, a) is 1 / (4 (2 a + 1)); its mean is 1/2.
    assert first.mean() == pytest.approx(0.5, abs=0.03)
    assert first.var() == pytest.approx(1 / (4 * 1.6), abs=0.01)


def test_before_the_border_cuts_it_a_box_has_the_part_that_was_drawn():
    """A box of part p of the area around an even place: its mean area after cutting, by integration over both axes."""
    images, target = torch.zeros(3000, 1, 64, 64), torch.arange(3000)
    _, soft = cutmix(images, target, classes=3000, alpha=1.0, generator=generator(1))
    pasted = 1 - soft.diagonal().double()
    # A side s of 1 around an even place keeps s - s^2 / 4 on average; with s^2 even in [0, 1], E (s - s^2 / 4)^2:
    s = np.sqrt((np.arange(1000) + 0.5) / 1000)
    expected = ((s - s**2 / 4) ** 2).mean()
    assert pasted.mean().item() == pytest.approx(expected, abs=4 * pasted.std().item() / math.sqrt(3000) + 0.01)


def test_an_alpha_of_zero_mixes_nothing_and_a_generator_repeats_itself():
    images, target = batch()
    for function in (mixup, cutmix):
        mixed, soft = function(images, target, classes=CLASSES, alpha=0.0, generator=generator(0))
        assert torch.equal(mixed, images)
        assert torch.equal(soft.argmax(1), target)
        assert torch.equal(soft.sum(1), torch.ones(6))
        state = torch.get_rng_state()
        one = function(images, target, classes=CLASSES, alpha=1.0, generator=generator(5))
        other = function(images, target, classes=CLASSES, alpha=1.0, generator=generator(5))
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert torch.equal(torch.get_rng_state(), state)  # nobody else's randomness is touched


def test_mix_takes_either_by_a_coin():
    images, target = batch()
    kinds = []
    for seed in range(60):
        mixed, _ = mix(images, target, classes=CLASSES, mixup_alpha=0.8, cutmix_alpha=1.0, generator=generator(seed))
        kinds.append(bool((mixed != mixed.round()).any()))
    assert 15 < sum(kinds) < 45
    for alphas, fractions in (((0.8, 0.0), True), ((0.0, 1.0), False)):
        mixed, _ = mix(
            images,
            target,
            classes=CLASSES,
            mixup_alpha=alphas[0],
            cutmix_alpha=alphas[1],
            generator=generator(0),
        )
        assert bool((mixed != mixed.round()).any()) == fractions


def test_bad_input_is_said_in_one_sentence():
    images, target = batch()
    with pytest.raises(ValueError, match=r"Beta\(alpha, alpha\) with alpha from 0 \(not at all\) on, got -1"):
        mixup(images, target, classes=CLASSES, alpha=-1.0, generator=generator(0))
