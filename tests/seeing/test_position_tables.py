"""Similarity maps by brute force, and tables by the names and forms under which networks keep them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sightline.models.vit import Size, VisionTransformer
from sightline.seeing.position_tables import position_tables, similarity


@pytest.mark.parametrize(("prefix", "grid"), [(0, (3, 5)), (2, (4, 4)), (1, (1, 6))])
def test_similarity_by_brute_force(prefix: int, grid: tuple[int, int]) -> None:
    rows, columns = grid
    table = torch.randn(prefix + rows * columns, 7, generator=torch.Generator().manual_seed(2))
    found = similarity(table, prefix=prefix, grid=grid)
    assert found.grid.shape == (*grid, *grid)
    assert found.prefix.shape == (prefix, *grid)
    for y in range(rows):
        for x in range(columns):
            here = table[prefix + y * columns + x]
            for v in range(rows):
                for u in range(columns):
                    there = table[prefix + v * columns + u]
                    expected = float(F.cosine_similarity(here, there, dim=0))
                    assert float(found.grid[y, x, v, u]) == pytest.approx(expected, abs=1e-6)
            for p in range(prefix):
                expected = float(F.cosine_similarity(here, table[p], dim=0))
                assert float(found.prefix[p, y, x]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("rows", "side", "prefix"), [(197, 14, 1), (196, 14, 0), (201, 14, 5), (5, 2, 1)])
def test_a_square_grid_is_found(rows: int, side: int, prefix: int) -> None:
    found = similarity(torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)))
    assert found.grid.shape == (side,) * 4
    assert len(found.prefix) == prefix


def test_a_vector_of_zeros_is_similar_to_none() -> None:
    table = torch.ones(4, 3)
    table[2] = 0
    expected = torch.ones(4, 4).double()
    expected[2], expected[:, 2] = 0, 0
    torch.testing.assert_close(similarity(table).grid.reshape(4, 4), expected)


def test_tables_are_found_and_other_things_are_not() -> None:
    network = nn.Module()
    network.pos_embed = nn.Parameter(torch.randn(1, 17, 8))
    network.position_embedding = nn.Embedding(10, 4)
    network.absolute_pos_map = nn.Parameter(torch.randn(1, 8, 3, 2))
    network.last_pos_map = nn.Parameter(torch.randn(1, 3, 2, 8))
    network.relative_position_bias_table = nn.Parameter(torch.randn(169, 3))
    network.register_buffer("position_ids", torch.arange(17)[None])
    network.pos_gain = nn.Parameter(torch.ones(8))
    network.projection = nn.Linear(4, 4)
    found = position_tables(network)
    assert {name: tuple(table.shape) for name, table in found.items()} == {
        "pos_embed": (17, 8),
        "absolute_pos_map": (6, 8),
        "last_pos_map": (6, 8),
        "position_embedding.weight": (10, 4),
    }
    torch.testing.assert_close(found["absolute_pos_map"][3], network.absolute_pos_map[0, :, 1, 1].detach())
    torch.testing.assert_close(found["last_pos_map"][3], network.last_pos_map[0, 1, 1].detach())


def test_the_house_s_own_transformer_has_one() -> None:
    network = VisionTransformer(Size(16, 1, 2), image_size=(16, 24), patch=4, registers=2)
    (table,) = position_tables(network).values()
    assert similarity(table, prefix=3, grid=network.grid).grid.shape == (4, 6, 4, 6)
    assert position_tables(nn.Conv2d(1, 1, 1)) == {}


@pytest.mark.parametrize(("prefix", "grid"), [(1, (4, 4)), (None, (5, 4)), (3, None)])
def test_what_does_not_fit_is_refused(prefix: int | None, grid: tuple[int, int] | None) -> None:
    with pytest.raises(ValueError, match=r"a table of 16 rows was to hold a grid of \d x \d after (any|1|3) others"):
        similarity(torch.ones(16, 2), prefix=prefix, grid=grid)
