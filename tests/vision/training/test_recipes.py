"""The learning rate of every update from its formula, and what decays."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from sightline.models.vit import Size, VisionTransformer
from sightline.vision.training.average import WeightAverage, decay_at
from sightline.vision.training.recipes import (
    Losses,
    Recipe,
    adamw_cosine,
    learning_rate_at,
    make_optimizer,
    set_rate,
    sgd_poly,
)


def rates(recipe: Recipe) -> list[float]:
    return [learning_rate_at(recipe, update) for update in range(recipe.steps)]


def test_poly_is_the_published_formula_at_every_step() -> None:
    recipe = sgd_poly()  # CCNet: 0.01 (1 - n / 60000)^0.9
    assert (recipe.steps, recipe.batch, recipe.weight_decay, recipe.momentum) == (60_000, 8, 5e-4, 0.9)
    for update in (0, 1, 29_999, 30_000, 59_999):
        assert learning_rate_at(recipe, update) == pytest.approx(1e-2 * (1 - update / 60_000) ** 0.9, rel=1e-12)
    assert learning_rate_at(recipe, 0) == 1e-2
    short = rates(sgd_poly(50, 2))
    assert short == pytest.approx([1e-2 * ((50 - n) / 50) ** 0.9 for n in range(50)], rel=1e-12)


def test_cosine_with_warm_up_at_every_step() -> None:
    recipe = adamw_cosine(60, 512, warm_up=9, last_rate=1e-5)
    expected = [5e-4 * (n + 1) / 10 for n in range(9)]
    expected += [1e-5 + (5e-4 - 1e-5) * (1 + math.cos(math.pi * n / 51)) / 2 for n in range(51)]
    assert rates(recipe) == pytest.approx(expected, rel=1e-12)
    assert rates(recipe)[9] == 5e-4  # the highest, once


def test_poly_after_a_warm_up_begins_at_the_highest_rate_and_constant_stays() -> None:
    poly = rates(sgd_poly(20, 1, warm_up=4))
    assert poly[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert poly[5:] == pytest.approx([0.01 * (1 - n / 16) ** 0.9 for n in range(1, 16)])
    assert rates(dataclasses.replace(sgd_poly(3, 1), schedule="constant")) == [1e-2] * 3


def test_deit_scales_its_rate_with_the_batch() -> None:
    recipe = adamw_cosine(300, 1024)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.warm_up) == (1e-3, 0.05, 5)
    assert not recipe.decay_everything


def test_pytorch_agrees_with_poly_and_cosine() -> None:
    for recipe, make in (
        (sgd_poly(30, 1), lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 30, 0.9)),
        (adamw_cosine(30, 1, warm_up=0), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30)),
    ):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], recipe.learning_rate)
        schedule, found = make(optimizer), []
        for _ in range(30):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert rates(recipe) == pytest.approx(found, rel=1e-9)


def test_what_decays() -> None:
    vit = VisionTransformer(Size(8, 1, 2), image_size=(4, 4), patch=2, registers=1, layer_scale=0.1)
    network = nn.Sequential(vit, nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 2).requires_grad_(False))
    optimizer = make_optimizer(network, adamw_cosine(1, 1))
    names = {parameter: name for name, parameter in network.named_parameters()}
    decaying, kept = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]
    linear = {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}
    assert decaying == {"0.patch_embed.proj.weight", "1.weight", *(f"0.blocks.0.{name}.weight" for name in linear)}
    assert {"0.cls_token", "0.reg_token", "0.pos_embed", "0.norm.weight", "1.bias", "2.weight"} <= kept
    assert not any(name.startswith("3") for name in decaying | kept)  # frozen
    everything = make_optimizer(network, sgd_poly(1, 1))
    assert [len(group["params"]) for group in everything.param_groups] == [len(decaying | kept)]
    assert isinstance(everything, torch.optim.SGD)
    set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_the_average_is_its_recurrence_and_takes_running_statistics_along() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).double()
    average = WeightAverage(network, 0.5)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for update in range(6):
        with torch.no_grad():
            for tensor in [*network.parameters(), *network.buffers()]:
                tensor.copy_(torch.full_like(tensor, update + 1))
        average.follow(network)
        kept = min(0.5, (1 + update) / (10 + update))
        assert decay_at(0.5, update) == kept
        for name, value in network.state_dict().items():
            moved = kept * expected[name] + (1 - kept) * value
            expected[name] = moved if value.is_floating_point() else value.clone()
    assert decay_at(0.999, 10**6) == 0.999
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=0)
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    other = WeightAverage(network, 0.5)
    other.load_state_dict(average.state_dict())
    assert other.updates == 6
    assert torch.equal(other.network[0].weight, average.network[0].weight)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "1 or more steps, got 0"),
        ({"accumulate": 3}, "a batch of 2 images cannot be cut into 3 parts"),
        ({"learning_rate": 0.0}, "a learning rate is above 0"),
        ({"warm_up": 4}, "0 to 3 of 4 updates, got 4"),
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"schedule": "cos"}, "did you mean 'cosine'"),
        ({"amp": "half"}, "it is one of none, bfloat16, float16, auto"),
        ({"average": 1.0}, "decays by a factor in"),
        ({"clip": 0.0}, "a norm above 0"),
        ({"mixup": -1.0}, "0 \\(none\\) or more"),
        ({"momentum": 2.0}, "momentum lies in"),
    ],
)
def test_a_recipe_says_what_is_wrong(changes: dict, words: str) -> None:
    fields = {"steps": 4, "batch": 2, "optimizer": "sgd", "learning_rate": 0.1, "schedule": "poly"}
    with pytest.raises(ValueError, match=words):
        Recipe(**{**fields, **changes})


def test_other_mistakes_are_said() -> None:
    with pytest.raises(ValueError, match="the factor of a loss is 0"):
        Losses(dice=-1.0)
    with pytest.raises(ValueError, match="updates 0 to 3, got 4"):
        learning_rate_at(sgd_poly(4, 1), 4)
    with pytest.raises(ValueError, match="no parameter that learns"):
        make_optimizer(nn.ReLU(), sgd_poly(4, 1))
