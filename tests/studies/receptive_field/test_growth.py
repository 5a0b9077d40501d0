"""Growth by formula against the engine on random stacks, and both against numbers worked by hand and by autograd."""

import random

import pytest
import torch

from sightline.studies.receptive_field import growth
from sightline.studies.receptive_field.growth import Field, Step, additions, by_engine, by_formula, rows, stack


def random_steps(draw: random.Random) -> list[Step]:
    found = []
    for _ in range(draw.randint(1, 5)):
        kernel, pools = draw.randint(1, 5), draw.random() < 0.3
        padding = draw.randint(0, kernel // 2)
        found.append(Step(kernel, draw.randint(1, 3), draw.randint(1, 3), padding, pools))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_the_formula_is_what_the_engine_finds_on_random_stacks(seed: int) -> None:
    steps = random_steps(random.Random(seed))
    assert by_engine(steps)[0] == by_formula(steps), steps


@pytest.mark.parametrize(("count", "kernel"), [(1, 3), (5, 3), (3, 7), (4, 1)])
def test_k_minus_one_for_each_layer_is_the_case_without_strides(count: int, kernel: int) -> None:
    steps = [Step(kernel)] * count
    assert additions(steps) == [kernel - 1] * count
    assert by_formula(steps) == Field(1 + count * (kernel - 1), 1, 0)


def test_numbers_worked_by_hand() -> None:
    steps = [Step(3, 2, padding=1), Step(3, dilation=2, padding=2), Step(2, 2, pools=True), Step(5)]
    assert additions(steps) == [2, 8, 2, 16]
    assert by_formula(steps) == Field(29, 4, 5)


def test_published_numbers() -> None:
    alexnet, stem = growth.STACKS["AlexNet to conv5"], growth.STACKS["the stem of a ResNet"]
    assert (by_formula(alexnet).size, by_formula(alexnet).stride) == (163, 16)
    assert by_formula(stem) == Field(11, 4, 5)


def test_every_row_says_what_each_layer_adds() -> None:
    for row in rows():
        assert row["formula"] == row["engine"]
        assert row["formula"]["size"] == 1 + sum(row["adds"])
        steps = growth.STACKS[row["stack"]]
        if all(step.stride == step.dilation == 1 for step in steps):
            assert row["by_kernels_alone"] == row["engine"]["size"]
    holes = next(row for row in rows() if row["stack"] == "dilated by 4 alone")
    assert (holes["engine"]["size"], holes["pixels"]) == (33, 81)  # every fourth pixel along each axis


def test_no_page_is_written_where_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "additions", lambda steps: [step.kernel for step in steps])
    with pytest.raises(RuntimeError, match=r"one layer: the formula says .*size=4.*, the engine .*size=3"):
        rows()


def test_seven_becomes_three_as_autograd_sees_it() -> None:
    seven = growth.seven_to_three()
    assert (seven["side"], seven["grid"]) == (7, [3, 3])
    network = stack([Step(3, 2)], image_channels=1).double()
    image = torch.rand(1, 1, 7, 7, dtype=torch.float64, requires_grad=True)
    output = network(image)
    assert output.shape == (1, 1, 3, 3)
    read = torch.zeros(7, 7, dtype=torch.long)
    for place, box in enumerate(seven["boxes"]):
        (gradient,) = torch.autograd.grad(output[0, 0, place // 3, place % 3], image, retain_graph=True)
        seen = gradient[0, 0] != 0
        read += seen
        ys, xs = seen.nonzero(as_tuple=True)
        assert box == [int(ys.min()), int(ys.max()), int(xs.min()), int(xs.max())]
    assert seven["boxes"][0] == [0, 2, 0, 2]
    assert seven["boxes"][4] == [2, 4, 2, 4]
    assert seven["read"] == read.tolist()
