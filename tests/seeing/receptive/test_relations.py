"""Every step is one relation read in two directions, and the relation that its name says.

`truth[out, in]` is written by hand, one pair of elements at a time. `sources` of one output element must be its row,
and `lowest` the minimum over that row, for random tables; both also where tables and marks have size 1 along an axis.
"""

import itertools
from collections.abc import Callable

import pytest
import torch
from jaxtyping import Bool
from torch import Tensor

from sightline.seeing.receptive.relations import (
    Cross,
    Every,
    Keep,
    Permute,
    Pick,
    Prefix,
    Relation,
    Reshape,
    Same,
    Spread,
    Table,
    Taps,
    Whole,
    Windows,
)
from sightline.seeing.receptive.tables import ABSENT, NO_SOURCE, collapsed, reshaped

Place = tuple[int, ...]


def indices(shape: tuple[int, ...]) -> list[Place]:
    return list(itertools.product(*(range(s) for s in shape)))


def table_of(
    shape: tuple[int, ...], out: tuple[int, ...], holds: Callable[[Place, Place], bool]
) -> Bool[Tensor, "o i"]:
    return torch.tensor([[holds(o, i) for i in indices(shape)] for o in indices(out)])


WINDOW = torch.tensor([[-1, 0, 1], [1, 2, 3], [3, 4, NO_SOURCE]])
CHOICE = torch.tensor([[3, -1], [0, 3]])
GOES = torch.tensor([[1, 1, -1], [0, 2, 1]])
KEPT = torch.tensor([[True, False, True], [False, False, True]])
ALLOWED = torch.tensor([[True, False, True], [False, False, False]])
TAPS = torch.tensor([[[1, 0]], [[0, 0]], [[1, 1]], [[0, 1]]]).bool()  # 4 outputs, 2 groups of 1 input, kernel 2
LINE = Windows(-1, torch.tensor([[-1, 0], [0, 1], [1, 2]]), 3)

GROUPS = (Windows(-2, torch.tensor([[0], [0], [1], [1]]), 2),)


def taps_hold(o: Place, i: Place) -> bool:
    return o[0] == i[0] and i[1] == o[1] // 2 and any(TAPS[o[1], 0, t] and o[2] - 1 + t == i[2] for t in (0, 1))


CASES: dict[str, tuple[Relation, tuple[int, ...], tuple[int, ...], Callable[[Place, Place], bool]]] = {
    "same": ((Same((2, 3), (2, 3)),), (2, 3), (2, 3), lambda o, i: o == i),
    "broadcast": ((Same((2, 1), (4, 2, 3)),), (2, 1), (4, 2, 3), lambda o, i: o[1] == i[0]),
    "broadcast one": ((Same((), (2, 3)),), (), (2, 3), lambda o, i: True),
    "every": ((Every((-2,)),), (2, 3, 2), (2, 1, 2), lambda o, i: o[0] == i[0] and o[2] == i[2]),
    "whole": ((Whole(2, 3),), (2, 3), (1, 1, 1), lambda o, i: True),
    "windows": ((Windows(-2, WINDOW, 5),), (5, 2), (3, 2), lambda o, i: i[0] in WINDOW[o[0]] and o[1] == i[1]),
    "windows of one": ((Windows(-1, WINDOW, 1),), (2, 1), (2, 3), lambda o, i: o[0] == i[0] and i[1] in WINDOW[o[1]]),
    "reshape": ((Reshape((2, 6), (3, 1, 4)),), (2, 6), (3, 1, 4), lambda o, i: o[0] * 4 + o[2] == i[0] * 6 + i[1]),
    "permute": ((Permute((2, 0, 1)),), (2, 3, 4), (4, 2, 3), lambda o, i: (i[2], i[0], i[1]) == o),
    "pick": ((Pick(CHOICE, (4,)),), (4,), (2, 2), lambda o, i: int(CHOICE[o]) == i[0]),
    "spread": ((Spread(GOES, (3,)),), (2, 3), (3,), lambda o, i: int(GOES[i]) == o[0]),
    "keep": ((Keep(KEPT),), (2, 3), (2, 3), lambda o, i: o == i and bool(KEPT[i])),
    "table, last": ((Table(-1, ALLOWED),), (4, 3), (4, 2), lambda o, i: o[0] == i[0] and bool(ALLOWED[o[1], i[1]])),
    "table, rows": ((Table(-2, ALLOWED),), (3, 4), (2, 4), lambda o, i: o[1] == i[1] and bool(ALLOWED[o[0], i[0]])),
    "taps": ((Taps(TAPS, 2, (LINE,), GROUPS),), (1, 2, 3), (1, 4, 3), taps_hold),
    "prefix": ((Prefix(-1),), (2, 4), (2, 4), lambda o, i: o[0] == i[0] and i[1] <= o[1]),
    "cross": ((Cross(),), (2, 3, 4), (2, 3, 4), lambda o, i: o[0] == i[0] and (o[1] == i[1] or o[2] == i[2])),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sources_of_one_output_are_its_row(name: str) -> None:
    relation, shape, out, holds = CASES[name]
    truth = table_of(shape, out, holds)
    for row, place in enumerate(indices(out)):
        marked = torch.zeros(out, dtype=torch.bool)
        marked[place] = True
        for step in reversed(relation):
            marked = step.sources(marked)
        assert marked.expand(shape).flatten().tolist() == truth[row].tolist(), (name, place)


@pytest.mark.parametrize("name", [n for n in CASES if n != "taps"])  # taps carry an upper bound forwards
def test_the_lowest_is_the_minimum_over_the_row(name: str) -> None:
    relation, shape, out, holds = CASES[name]
    truth = table_of(shape, out, holds)
    generator = torch.Generator().manual_seed(0)
    table = torch.randint(-50, 50, (4, *shape), generator=generator)
    found = table
    for step in relation:
        found = step.lowest(found)
    flat = table[:2].reshape(2, 1, -1)
    expected = torch.where(truth, flat, ABSENT).amin(-1).reshape(2, *out)
    torch.testing.assert_close(found[:2].expand(2, *out), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["same", "every", "windows", "keep", "table, last", "table, rows", "cross", "reshape"])
@pytest.mark.parametrize("axis", [-1, -2])
def test_size_one_stands_for_any_size(name: str, axis: int) -> None:
    relation, shape, out, _ = CASES[name]
    table = torch.randint(-50, 50, (4, *shape), generator=torch.Generator().manual_seed(1)).narrow(axis, 0, 1)
    short, full = table, table.expand(4, *shape)
    for step in relation:
        short, full = step.lowest(short), step.lowest(full)
    torch.testing.assert_close(short.expand(4, *out), full.expand(4, *out), rtol=0, atol=0)
    marks = (torch.rand(out, generator=torch.Generator().manual_seed(2)) < 0.3).narrow(axis, 0, 1)
    small, large = marks, marks.expand(out)
    for step in reversed(relation):
        small, large = step.sources(small), step.sources(large)
    assert torch.equal(small.expand(shape), large.expand(shape))


def test_coordinates_go_on_beyond_the_border() -> None:
    """Unclipped, a window in the padding has the coordinates that the image would have there."""
    line = torch.arange(5)
    table = torch.stack([line, -line, line, -line])
    found = Windows(-1, torch.tensor([[-2, -1, 0], [3, 4, 5]]), 5).lowest(table)
    assert found.tolist() == [[0, 3], [0, -4], [-2, 3], [0, -5]]


def test_reshape_keeps_what_is_uniform_small() -> None:
    x = torch.arange(6).reshape(1, 6)
    assert reshaped(x, (5, 6), (5, 2, 3)).shape == (1, 2, 3)
    assert reshaped(x, (5, 6), (30,)).tolist() == [0, 1, 2, 3, 4, 5] * 5
    assert reshaped(torch.zeros(1, 1, 7), (2, 3, 7), (6, 7)).shape == (1, 7)


def test_collapsing_finds_what_does_not_change() -> None:
    table = torch.arange(3).reshape(1, 1, 3).repeat(4, 5, 1)
    assert collapsed(table).shape == (4, 1, 3)
