"""Losses and scores give on a GPU what they give on the CPU, and the same twice."""

import pytest
import torch

from sightline.vision.augmentation.mixing import mix
from sightline.vision.measures.category_consistent import category_consistent_loss
from sightline.vision.measures.losses import cross_entropy, dice_loss, ohem_cross_entropy
from sightline.vision.measures.metrics import confusion_matrix

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

LOSSES = {
    "cross_entropy": lambda x, t: cross_entropy(x, t, weight=torch.arange(1, 6).to(x), smoothing=0.1),
    "ohem": lambda x, t: ohem_cross_entropy(x, t, threshold=0.2, least=300),
    "dice": dice_loss,
    "category-consistent": lambda x, t: category_consistent_loss(x, t, classes=5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_gpu_gives_what_the_cpu_gives(name):
    values, target = torch.randn(2, 5, 33, 47, dtype=torch.float64), torch.randint(5, (2, 33, 47))
    target[:, ::3] = 255
    found = []
    for device in ("cpu", "cuda", "cuda"):
        x = values.to(device).requires_grad_()
        loss = LOSSES[name](x, target.to(device))
        found.append((loss.detach().cpu(), torch.autograd.grad(loss, x)[0].cpu()))
    for one, other in zip(found[0], found[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert all(torch.equal(one, other) for one, other in zip(found[1], found[2], strict=True))


def test_scores_and_mixing_on_a_gpu():
    prediction, target = torch.randint(5, (2, 9, 9)), torch.randint(5, (2, 9, 9))
    expected = confusion_matrix(prediction, target, 5)
    assert torch.equal(confusion_matrix(prediction.cuda(), target.cuda(), 5).cpu(), expected)
    images, classes = torch.randn(4, 3, 8, 8), torch.arange(4)
    for seed in range(4):  # both kinds
        results = [
            mix(
                images.to(device),
                classes.to(device),
                classes=4,
                mixup_alpha=0.8,
                cutmix_alpha=1.0,
                generator=torch.Generator().manual_seed(seed),
            )
            for device in ("cpu", "cuda")
        ]
        torch.testing.assert_close(results[1][0].cpu(), results[0][0])
        torch.testing.assert_close(results[1][1].cpu(), results[0][1])
