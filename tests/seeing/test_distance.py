"""Mean attention distance and entropy against hand-worked tables, known lines and brute force over all pairs."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.criss_cross import RecurrentCrissCross
from sightline.layers.non_local import NonLocal
from sightline.models.vit import Size, VisionTransformer
from sightline.seeing.distance import attention_distances, centres, row_statistics, uniform_distance


@pytest.mark.parametrize(
    ("grid", "patch", "pixels"),
    [((14, 14), 16, 116.49), ((16, 16), 14, 116.57), ((24, 24), 16, 200.05), ((7, 7), 32, 115.50)],
)
def test_the_known_lines_of_uniform_attention(grid: tuple[int, int], patch: int, pixels: float) -> None:
    size = (grid[0] * patch, grid[1] * patch)
    assert abs(uniform_distance(grid, size) - pixels) < 0.005
    assert math.isclose(uniform_distance(grid, size, block=5), uniform_distance(grid, size), rel_tol=1e-12)


def test_uniform_lines_by_hand() -> None:
    # two cells 6 px apart: half of the pairs are a cell with itself
    assert uniform_distance((1, 2), (6, 12)) == 3.0
    # 2 x 2 cells of 3 x 4 px: 0, 3, 4 and the diagonal 5
    assert uniform_distance((2, 2), (6, 8)) == 3.0
    # queries on 1 x 2 cells at 1.5 and 5.5, keys on one cell at 3.5
    assert uniform_distance((1, 1), (4, 8), queries=(1, 2)) == 2.0
    assert centres((2, 2), (6, 8)).tolist() == [[1.0, 1.5], [1.0, 5.5], [4.0, 1.5], [4.0, 5.5]]


def test_rows_by_hand() -> None:
    rows = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], [[0.25, 0.25, 0.5], [0.0, 0.0, 1.0]]])
    distances = torch.tensor([[0.0, 3.0, 5.0], [3.0, 0.0, 4.0]])
    far, wide = row_statistics(rows, distances)
    torch.testing.assert_close(far, torch.tensor([[0.0, 1.5], [3.25, 4.0]]))
    torch.testing.assert_close(wide, torch.tensor([[0.0, math.log(2)], [1.5 * math.log(2), 0.0]]))


class Given(nn.Module):
    """Attention with a table that is given: its logarithm is the mask, and all scores are zero."""

    def __init__(self, table: Tensor, patch: int = 4, prefix: int = 0) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 2, patch, patch).double()
        self.register_buffer("table", table)
        self.prefix = prefix

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).mT
        tokens = torch.cat([tokens.new_zeros(1, self.prefix, 2), tokens], 1)
        zero = torch.zeros_like(tokens)[:, None].expand(-1, len(self.table), -1, -1)
        return F.scaled_dot_product_attention(zero, zero, zero, attn_mask=self.table.log()[None])


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_a_uniform_head_lies_on_its_line_and_a_head_that_looks_at_itself_at_zero() -> None:
    n = 6
    table = torch.stack([torch.full((n, n), 1 / n), torch.eye(n)]).double()
    (found,) = attention_distances(Given(table), draw(1, 3, 8, 12))
    assert (found.layer, found.number, found.grid, found.note) == ("", None, (2, 3), "")
    torch.testing.assert_close(
        found.distance, torch.tensor([uniform_distance((2, 3), (8, 12)), 0.0], dtype=torch.float64)
    )
    torch.testing.assert_close(found.entropy, torch.tensor([math.log(6), 0.0], dtype=torch.float64))
    assert found.uniform_entropy == math.log(6)
    assert found.uniform_distance == uniform_distance((2, 3), (8, 12))


def test_prefix_tokens_are_taken_out_and_rows_made_whole() -> None:
    table = torch.tensor(
        [
            [
                [0.2, 0.4, 0.4],  # the class token's row: no part in it
                [0.5, 0.0, 0.5],  # of the rest all looks 4 px away
                [0.2, 0.4, 0.4],  # half of the rest looks 4 px away
            ],
            [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.6, 0.1, 0.3]],  # a row with nothing left does not count
        ]
    ).double()
    for block in (1, 2, 128):
        (found,) = attention_distances(Given(table, prefix=1), draw(1, 3, 4, 8), block=block)
        torch.testing.assert_close(found.distance, torch.tensor([(4 + 2) / 2, 1.0]).double())
        wide = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
        torch.testing.assert_close(found.entropy, torch.tensor([math.log(2) / 2, wide]).double())
        torch.testing.assert_close(found.prefix_share, torch.tensor([0.35, 0.6]).double())


def test_a_vision_transformer_over_several_images_by_brute_force() -> None:
    vit = VisionTransformer(Size(8, 2, 2), image_size=(24, 32), patch=8)
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.5)
    vit, images = vit.double(), draw(3, 3, 24, 32)
    found = attention_distances(vit, images, block=5)
    assert [d.layer for d in found] == ["blocks.0.attn", "blocks.1.attn"]
    for layer, one in enumerate(found):
        far, wide = torch.zeros(2), torch.zeros(2)
        for image in images.split(1):
            for y in range(3):
                for x in range(4):
                    with torch.no_grad():
                        row = vit.weights(image, (y, x), block=layer)[0, :, 1:].reshape(2, 3, 4)
                    row = row / row.sum((1, 2), keepdim=True)
                    for head in range(2):
                        for v in range(3):
                            for u in range(4):
                                a = float(row[head, v, u])
                                far[head] += a * math.hypot(8 * (v - y), 8 * (u - x)) / 36
                                wide[head] -= a * math.log(a) / 36
        torch.testing.assert_close(one.distance.float(), far, rtol=1e-5, atol=0)
        torch.testing.assert_close(one.entropy.float(), wide, rtol=1e-5, atol=0)


def test_layers_with_weights_of_their_own_and_coarser_keys() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 4, 4),
        NonLocal(4, "gaussian", subsample=2),
        RecurrentCrissCross(4, 2, 2),
        NonLocal(4, "dot_product"),
    ).double()
    coarse, first, second, signed = attention_distances(network, draw(1, 3, 16, 24))
    assert (coarse.layer, coarse.grid, coarse.number) == ("1", (2, 3), None)
    assert coarse.uniform_distance == uniform_distance((2, 3), (16, 24), queries=(4, 6))
    assert coarse.uniform_entropy == math.log(6)
    assert (first.layer, first.number, second.number) == ("2.cca", 1, 2)
    assert float(first.entropy) <= math.log(4 + 6 - 1)
    # gamma is zero: the second pass gets what the first one got
    torch.testing.assert_close(first.distance, second.distance)
    assert signed.distance.isnan().all()
    assert signed.note == "the layer's weights may be negative, so that they have no mean distance"


def test_layers_off_the_grid_get_a_sentence_and_wrong_calls_too() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 2, 4, 4)

        def forward(self, image: Tensor) -> Tensor:
            x = self.patches(image).flatten(2).mT.reshape(2, 1, 12, 2)
            return F.scaled_dot_product_attention(x, x, x)

    network = Windows().double()
    (found,) = attention_distances(network, draw(1, 3, 16, 24))
    assert found.distance.isnan().all()
    assert math.isnan(found.uniform_distance)
    assert found.note == "the layer's 12 queries and 12 keys could not be placed on the image"
    with pytest.raises(ValueError, match="at least one row, got 0"):
        attention_distances(network, draw(1, 3, 16, 24), block=0)


def test_no_images_get_one_sentence(as_users_run_it: None) -> None:
    with pytest.raises(ValueError, match=r"of shape \(0, 3, 8, 8\)"):
        attention_distances(nn.Identity(), torch.zeros(0, 3, 8, 8))
