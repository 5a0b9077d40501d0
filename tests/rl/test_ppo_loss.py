"""PPO's loss in one piece, its slopes written out, against the functions of `losses.py` and autograd."""

import pytest
import torch

from sightline.rl.losses import approximate_kl, clip_fraction, clipped_surrogate_loss, value_loss
from sightline.rl.ppo_loss import surrogate_and_value_loss

CLIP, FACTOR = 0.2, 0.7


@pytest.mark.parametrize("value_clip", [None, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_statistics_and_gradients_are_those_of_the_single_functions(
    value_clip: float | None, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    old, advantages, targets, old_values = torch.randn(4, 200, dtype=dtype)
    leaves = [(old + 0.4 * torch.randn(200, dtype=dtype)), old_values + 0.5 * torch.randn(200, dtype=dtype)]
    new, values = [one.requires_grad_() for one in leaves]
    advantages[:9] = 0
    kept = old_values if value_clip is not None else None
    surrogate = clipped_surrogate_loss(new, old, advantages, clip=CLIP)
    value = value_loss(values, targets, old_values=kept, clip=value_clip)
    expected = [
        surrogate + FACTOR * value,
        surrogate,
        value,
        approximate_kl(new, old),
        clip_fraction(new, old, clip=CLIP),
    ]
    given = {"clip": CLIP, "value_factor": FACTOR, "old_values": old_values, "value_clip": value_clip}
    found = surrogate_and_value_loss(new, values, old, advantages, targets, **given)  # type: ignore[arg-type]
    torch.testing.assert_close(found, tuple(expected))
    assert not any(one.requires_grad for one in found[1:])
    slopes = torch.autograd.grad(3 * found[0], (new, values))
    torch.testing.assert_close(slopes, torch.autograd.grad(3 * expected[0], (new, values)))
    assert (slopes[0] == 0).sum() > 20, "some rows are clipped"
    if value_clip is not None:
        assert (slopes[1] == 0).any()


def test_no_gradient_flows_into_what_was_known_before() -> None:
    old, advantages, targets, new, values = (torch.randn(5).requires_grad_() for _ in range(5))
    total, *_ = surrogate_and_value_loss(new, values, old, advantages, targets, clip=CLIP, value_factor=FACTOR)
    total.backward()
    assert new.grad is not None
    assert values.grad is not None
    assert old.grad is advantages.grad is targets.grad is None
