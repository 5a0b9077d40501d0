"""The category-consistent loss against a double loop from the paper's formulas, and numbers worked by hand."""

import math

import pytest
import torch
from torch import Tensor

from sightline.vision.measures.category_consistent import category_consistency, category_consistent_loss, nearest_target

IGNORE = 255
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def phi_var(d: float, dv: float = 0.5, dd: float = 1.5) -> float:
    if d > dd:
        return d - dd + (dd - dv) ** 2
    return (d - dv) ** 2 if d > dv else 0.0


def phi_dis(d: float, dd: float = 1.5) -> float:
    return (2 * dd - d) ** 2 if d <= 2 * dd else 0.0


def norm(v: list[float]) -> float:
    return math.sqrt(math.fsum(x * x for x in v))


def by_hand(vectors: list[list[float]], labels: list[int]) -> list[float]:
    """The three parts, one class, one pixel, one pair of classes at a time."""
    there = sorted({c for c in labels if c != IGNORE})
    if not there:
        return [0.0, 0.0, 0.0]
    members = {c: [v for v, label in zip(vectors, labels, strict=True) if label == c] for c in there}
    mean = {c: [math.fsum(x) / len(members[c]) for x in zip(*members[c], strict=True)] for c in there}
    minus = lambda a, b: [x - y for x, y in zip(a, b, strict=True)]  # noqa: E731
    variance = sum(sum(phi_var(norm(minus(h, mean[c]))) for h in members[c]) / len(members[c]) for c in there)
    distance = 0.0
    for a in there:
        for b in there:
            if a != b:
                distance += phi_dis(norm(minus(mean[a], mean[b]))) / (len(there) * (len(there) - 1))
    return [variance / len(there), distance, sum(norm(mean[c]) for c in there) / len(there)]


def random_case(b: int, d: int, y: int, x: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # Distances on either side of both deltas, and means on either side of 2 delta_d.
    features = 0.6 * torch.randn(b, d, y, x, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (b, y, x), generator=generator)
    features += torch.randn(classes, d, generator=generator, dtype=torch.float64)[target].movedim(-1, 1)
    target[torch.rand(target.shape, generator=generator) < 0.2] = IGNORE
    return features, target


def flat(features: Tensor, target: Tensor) -> tuple[list[list[float]], list[int]]:
    return features.movedim(1, -1).flatten(0, 2).tolist(), target.flatten().tolist()


@pytest.mark.parametrize(("b", "d", "y", "x", "classes"), [(2, 4, 5, 7, 3), (1, 3, 1, 9, 9), (3, 1, 4, 4, 2)])
def test_the_parts_equal_a_double_loop(b, d, y, x, classes):
    features, target = random_case(b, d, y, x, classes)
    parts = category_consistency(features, target, classes=classes)
    torch.testing.assert_close(torch.stack(list(parts)).tolist(), by_hand(*flat(features, target)), **EXACT)


def test_over_images_is_the_mean_of_what_each_image_gives_alone():
    features, target = random_case(4, 3, 5, 5, 4)
    target[2] = IGNORE  # an image in which nothing counts takes no part
    each = [by_hand(*flat(features[i : i + 1], target[i : i + 1])) for i in (0, 1, 3)]
    parts = category_consistency(features, target, classes=4, over="image")
    mean = [math.fsum(column) / 3 for column in zip(*each, strict=True)]
    torch.testing.assert_close(torch.stack(list(parts)).tolist(), mean, **EXACT)
    assert abs(parts.variance - category_consistency(features, target, classes=4).variance) > 1e-3  # it is a choice


def test_numbers_worked_by_hand():
    """One channel. Class 0 at 0, 0, 6: mean 2, distances 2, 2, 4. Class 1 at 3, 5: mean 4, distances 1, 1.

    phi_var: 2 - 1.5 + 1 = 1.5 twice and 4 - 1.5 + 1 = 3.5, mean 6.5 / 3; (1 - 0.5)^2 = 0.25. Means are 2 apart, so each
    ordered pair gives (3 - 2)^2 = 1. Norms of the means: 2 and 4.
    """
    features = torch.tensor([0.0, 0.0, 6.0, 3.0, 5.0, 100.0], dtype=torch.float64).reshape(1, 1, 2, 3)
    target = torch.tensor([[[0, 0, 0], [1, 1, IGNORE]]])
    parts = category_consistency(features, target, classes=5)
    assert parts.variance.item() == pytest.approx((6.5 / 3 + 0.25) / 2)
    assert parts.distance.item() == pytest.approx(1)
    assert parts.regularisation.item() == pytest.approx(3)
    loss = category_consistent_loss(features, target, classes=5)
    assert loss.item() == pytest.approx((6.5 / 3 + 0.25) / 2 + 1 + 0.001 * 3)
    other = category_consistent_loss(features, target, classes=5, alpha=2.0, beta=0.5, gamma=0.1)
    assert other.item() == pytest.approx(6.5 / 3 + 0.25 + 0.5 + 0.3)


@pytest.mark.parametrize(
    ("distance", "cost", "slope"),
    [(0.2, 0, 0), (0.5, 0, 0), (0.75, 0.0625, 0.5), (1.5, 1, 2), (1.5001, 1.0001, 1), (2, 1.5, 1), (10, 9.5, 1)],
)
def test_the_paper_s_distance_is_continuous_and_its_slope_falls_from_two_to_one(distance, cost, slope):
    # Two pixels of one class at -d and d: their mean is 0 and does not move when both move apart.
    d = torch.tensor(float(distance), dtype=torch.float64, requires_grad=True)
    variance = category_consistency(
        torch.stack([-d, d]).reshape(1, 1, 1, 2), torch.zeros(1, 1, 2, dtype=torch.long), classes=1
    ).variance
    assert variance.item() == pytest.approx(cost)
    assert torch.autograd.grad(variance, d)[0].item() == pytest.approx(slope)


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.9, 3.0, 4.0])
def test_means_are_pushed_apart_up_to_twice_delta_d(apart):
    features = torch.tensor([0.0, apart], dtype=torch.float64).reshape(1, 1, 1, 2)
    parts = category_consistency(features, torch.tensor([[[0, 1]]]), classes=2)
    assert parts.distance.item() == pytest.approx(max(0, 3 - apart) ** 2)


def test_one_class_has_no_pairs():
    features, _ = random_case(1, 3, 2, 2, 2)
    target = torch.full((1, 2, 2), 1)
    assert category_consistency(features, target, classes=2).distance.item() == 0


@pytest.mark.parametrize("over", ["batch", "image"])
def test_gradients_equal_finite_differences_away_from_kinks(over):
    features, target = random_case(2, 3, 3, 4, 3, seed=4)
    for row in by_distance(features, target, over):
        assert all(abs(row - kink) > 1e-4 for kink in (0.5, 1.5)), "choose another seed: a distance sits on a kink"
    assert torch.autograd.gradcheck(
        lambda x: category_consistent_loss(x, target, classes=3, gamma=0.1, over=over), features.requires_grad_()
    )


def by_distance(features: Tensor, target: Tensor, over: str) -> list[float]:
    """Distances of all pixels to the mean of their class."""
    found = []
    images = [(features, target)] if over == "batch" else [(features[i : i + 1], target[i : i + 1]) for i in range(2)]
    for f, t in images:
        for c in range(3):
            members = f.movedim(1, -1)[t == c]
            found += (members - members.mean(0)).norm(dim=1).tolist()
    return found


@pytest.mark.parametrize("over", ["batch", "image"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_that_counts_costs_nothing_and_teaches_nothing(over, dtype):
    features = torch.randn(2, 3, 2, 2, dtype=dtype).requires_grad_()
    loss = category_consistent_loss(features, torch.full((2, 2, 2), IGNORE), classes=3, over=over)
    loss.backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()


def test_gradients_are_finite_where_features_are_equal():
    features = torch.zeros(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    category_consistent_loss(features, torch.tensor([[[0, 0], [1, 1]]]), classes=2).backward()
    assert features.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    features, target = random_case(2, 4, 5, 7, 3)
    half = features.bfloat16()
    loss = category_consistent_loss(half, target, classes=3)
    assert loss.dtype == torch.float32
    assert loss == category_consistent_loss(half.float(), target, classes=3)


def test_autocast_changes_nothing():
    features, target = random_case(2, 4, 5, 7, 3)
    plain = category_consistent_loss(features.float(), target, classes=3)
    with torch.autocast("cpu", torch.bfloat16):
        assert category_consistent_loss(features.float(), target, classes=3) == plain


def test_memory_does_not_grow_with_the_number_of_classes():
    """No tensor of pixels x classes x channels, nor of pixels x classes: all that autograd keeps is counted."""

    def kept(classes: int) -> int:
        features = torch.randn(1, 16, 24, 24, requires_grad=True)
        target = torch.randint(2, (1, 24, 24))
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = category_consistent_loss(features, target, classes=classes)
        assert loss.requires_grad
        return sum(storages.values())

    pixels, channels, few, many = 24 * 24, 16, 2, 50
    assert kept(many) - kept(few) < 8 * 4 * (many * many + many * channels)
    assert 8 * 4 * (many * many + many * channels) < 4 * pixels * channels * many / 2  # the bound means something


def test_targets_are_read_at_the_nearest_pixel_s_centre():
    target = torch.arange(769)[None, None].repeat(1, 769, 1)
    aligned = nearest_target(target, (97, 97), align_corners=True)[0, 0]
    assert aligned.tolist() == list(range(0, 769, 8))  # CCNet's map of a 769 crop: every eighth pixel, ends included
    for pixels, positions in [(8, 2), (5, 5), (7, 3), (9, 4), (3, 6), (4, 1), (10, 7)]:
        line = torch.arange(pixels)[None, None]
        found = nearest_target(line, (1, positions))[0, 0].tolist()
        for i, pixel in enumerate(found):
            at = (i + 0.5) * pixels / positions - 0.5
            assert abs(pixel - at) <= min(abs(p - at) for p in range(pixels)) + 1e-9
    assert nearest_target(torch.arange(5)[None, None], (1, 1), align_corners=True).item() == 2


def test_a_larger_target_is_resized_to_the_map():
    features, target = random_case(2, 4, 5, 7, 3)
    large = target.repeat_interleave(3, 1).repeat_interleave(3, 2)
    for align in (False, True):
        found = category_consistent_loss(features, large, classes=3, align_corners=align)
        near = nearest_target(large, (5, 7), align_corners=align)
        assert found == category_consistent_loss(features, near, classes=3)
    assert category_consistent_loss(features, large, classes=3) == category_consistent_loss(features, target, classes=3)


def test_bad_input_is_said_in_one_sentence():
    features, target = random_case(1, 2, 3, 3, 2)
    with pytest.raises(ValueError, match="the target holds class 9, but there are classes 0 to 1, and only 255"):
        category_consistent_loss(features, target.index_fill(1, torch.tensor([1]), 9), classes=2)
    with pytest.raises(ValueError, match=r"0 <= delta_v <= delta_d must hold, got 2.0 and 1.5"):
        category_consistent_loss(features, target, classes=2, delta_v=2.0)
    with pytest.raises(ValueError, match="unknown set of pixels 'images': did you mean 'image'"):
        category_consistent_loss(features, target, classes=2, over="images")
