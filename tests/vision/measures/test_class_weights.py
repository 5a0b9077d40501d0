"""Class weights against numbers worked by hand from each paper's formula, and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from sightline.vision.measures.class_weights import class_weights

COUNTS = torch.tensor([[60, 40, 0, 0], [0, 20, 30, 0], [0, 0, 10, 40]])  # three images: 100, 50 and 50 pixels


def test_inverse_is_scikit_learn_s_balanced():
    labels = np.repeat(np.arange(4), COUNTS.sum(0).numpy())
    balanced = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights(COUNTS, "inverse").numpy(), balanced, rtol=1e-6)
    assert torch.equal(class_weights(COUNTS, "inverse"), class_weights(COUNTS.sum(0), "inverse"))


def test_median_frequency_counts_only_images_that_have_the_class():
    # 60/100, 60/150, 40/100, 40/50: the median of 0.4, 0.4, 0.6, 0.8 is 0.5
    expected = [0.5 / 0.6, 0.5 / 0.4, 0.5 / 0.4, 0.5 / 0.8]
    np.testing.assert_allclose(class_weights(COUNTS, "median_frequency").numpy(), expected, rtol=1e-6)


def test_enet_bounds_rare_classes():
    expected = [1 / math.log(1.02 + n / 200) for n in (60, 60, 40, 40)]
    np.testing.assert_allclose(class_weights(COUNTS, "enet").numpy(), expected, rtol=1e-6)
    extreme = class_weights(torch.tensor([10**12, 1]), "enet")
    assert extreme[0].item() == pytest.approx(1.42, abs=0.01)
    assert extreme[1].item() == pytest.approx(50.5, abs=0.05)


@pytest.mark.parametrize("how", ["inverse", "median_frequency", "enet"])
def test_an_absent_class_is_said_and_given_what_the_user_says(how):
    counts = torch.tensor([[3, 0, 5, 0], [1, 0, 0, 0]])
    with pytest.raises(ValueError, match="no pixel of the data is of class rider, train: leave such classes out"):
        class_weights(counts, how, names=("road", "rider", "car", "train"))
    with pytest.raises(ValueError, match="of class 1, 3: "):
        class_weights(counts, how)
    weight = class_weights(counts, how, absent=0.0)
    assert weight[[1, 3]].tolist() == [0, 0]
    assert (weight[[0, 2]] > 0).all()
    assert weight.isfinite().all()


def test_bad_input_is_said_in_one_sentence():
    with pytest.raises(ValueError, match=r"needs the pixels of each class in each image, \[images, classes\], got one"):
        class_weights(torch.tensor([3, 4]), "median_frequency")
    with pytest.raises(ValueError, match="unknown way to weigh classes 'median': did you mean 'median_frequency'"):
        class_weights(COUNTS, "median")
