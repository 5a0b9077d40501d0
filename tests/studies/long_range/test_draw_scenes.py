"""What counts in an answer: shares of its gradient, inside the field, and all of it."""

import numpy as np
import pytest
import torch

from sightline.studies.long_range.draw_scenes import _effects
from sightline.studies.long_range.evaluation import architecture_reach
from sightline.studies.long_range.networks import RecallNetwork
from sightline.studies.long_range.training import Budget, Training

BUDGET = Budget(width=8, squares=4, rows=4, columns=5, test_canvases=4)


@pytest.mark.parametrize("network", ["shallow convolutions", "criss-cross R=1", "Vision Transformer"])
def test_what_counts_lies_in_the_field_and_adds_up(network: str) -> None:
    training = Training("recall", 3, network, 0, BUDGET)
    torch.manual_seed(0)
    built = RecallNetwork(**training.network_arguments()).eval()
    got = _effects(built, training.test_canvases(2), 1).astype(float)
    assert got.shape == (4 * 5, 4, 5)
    np.testing.assert_allclose(got.sum((1, 2)), 1, atol=2e-3)
    seen = architecture_reach(network, BUDGET)[:, :, ::8, ::8].flatten(2).permute(2, 0, 1).numpy()
    assert not got[~seen].any()
