"""An operator of one's own is dense and named until it gets a rule; then it is exact."""

import pytest
import torch
from jaxtyping import TypeCheckError
from tests.seeing.oracles import perturbed_set, reader
from tests.seeing.small_cases import steps
from tests.seeing.small_convolutions import conv
from torch import Tensor, nn

from sightline.seeing.receptive import Call, Every, Same, Windows, receptive_fields, register_rule

SIZE = (8, 7)


@torch.library.custom_op("sightline_tests::mirror_columns", mutates_args=())
def mirror_columns(x: Tensor) -> Tensor:
    """Turns the map round, left to right."""
    return x.flip(3).contiguous()


@mirror_columns.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("sightline_tests::row_sums", mutates_args=())
def row_sums(x: Tensor, plus: Tensor) -> tuple[Tensor, Tensor]:
    """Two results: the sum of every row and another input, and that input doubled."""
    return x.sum(3, keepdim=True) + plus, 2 * plus


@row_sums.register_fake
def _(x: Tensor, plus: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(plus), torch.empty_like(plus)


def mirrored() -> nn.Module:
    return steps(conv(3, 4, 3), lambda x: mirror_columns(x), conv(4, 3, (1, 2)))


def summed() -> nn.Module:
    return steps(conv(3, 4, 3), lambda x: torch.cat(row_sums(x, x.clone()), 1))


def by_column(call: Call) -> list[list[tuple[Tensor, tuple[Windows]]]]:
    width = call["x"].shape[-1]
    return [[(call["x"], (Windows(-1, torch.arange(width - 1, -1, -1)[:, None], width),))]]


def by_row(call: Call) -> list[list[tuple[Tensor, tuple[Every | Same, ...]]]]:
    x, plus = call["x"], call["plus"]
    along = (Every((-1,)), Same((*x.shape[:-1], 1), tuple(plus.shape)))
    return [[(x, along), (plus, call.same(plus))], [(plus, call.same(plus))]]


@pytest.fixture
def rules() -> None:
    register_rule("sightline_tests::mirror_columns", by_column)
    register_rule("sightline_tests::row_sums", by_row)


@pytest.fixture
def no_rules() -> None:
    register_rule("sightline_tests::mirror_columns", lambda call: None)
    register_rule("sightline_tests::row_sums", lambda call: None)


@pytest.mark.parametrize("values", [False, True], ids=["structural", "value-aware"])
@pytest.mark.parametrize("build", [mirrored, summed])
def test_with_a_rule_it_is_exact(rules: None, build: type, values: bool) -> None:
    network, image = build().double().eval(), torch.randn(1, 3, *SIZE, dtype=torch.float64)
    fields = receptive_fields(network, image, values=values)
    assert all(field.dense == () for field in fields.layers.values())
    neurons = [(0, 0), (3, 2), (5, 3)]
    truth = perturbed_set(network, image, reader(*neurons), redrawn=not values)
    for position, want in zip(neurons, truth, strict=True):
        torch.testing.assert_close(fields.set("", position), want)


@pytest.mark.parametrize("build", [mirrored, summed])
def test_a_rule_that_cannot_tell_leaves_it_dense_and_named(no_rules: None, build: type) -> None:
    fields = receptive_fields(build(), SIZE)
    assert fields.layers["0"].dense == ()
    assert [name for name in fields.layers[""].dense if name.startswith("sightline_tests::")]
    assert fields.set("", (2, 2)).all()


@pytest.mark.parametrize("name", ["mirror", "::mirror", "a::b::c"])
def test_a_rule_belongs_to_a_name_with_a_namespace(name: str) -> None:
    with pytest.raises(ValueError, match="namespace::name"):
        register_rule(name, by_column)


def test_the_wrong_names_of_an_argument_are_told() -> None:
    register_rule("sightline_tests::mirror_columns", lambda call: [[(call["image"], ())]])
    with pytest.raises((KeyError, ValueError, TypeCheckError), match="image"):
        receptive_fields(mirrored(), SIZE)
