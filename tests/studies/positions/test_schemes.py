"""Schemes at their own size and beyond it, by definition; and what each can know, by reordering the patches."""

import pytest
import torch

from sightline.ops.positions import sinusoidal
from sightline.studies.positions import schemes
from sightline.studies.positions.grids import CELL
from sightline.studies.positions.knows import EXACT, knows
from sightline.studies.positions.schemes import ClippedOffsets, GridNetwork, Numbered, StretchedOffsets


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_a_network_answers_every_cell_of_any_size(scheme: str) -> None:
    network = GridNetwork(scheme, (4, 4)).eval()
    for rows, columns in ((4, 4), (2, 4), (4, 6), (7, 3)):
        assert network(torch.rand(2, 3, rows * CELL, columns * CELL)).shape == (2, 14, rows, columns)


def test_without_positions_shuffling_the_patches_only_permutes_the_tokens() -> None:
    found = knows("none")
    assert found.shuffle < EXACT
    assert found.words == "nothing of where"


def test_alibi_knows_how_far_and_not_which_way() -> None:
    found = knows("ALiBi 2-D")
    assert found.shuffle > 1e-3
    assert max(found.mirror, found.turn) < EXACT
    assert found.words == "how far, not which way"


@pytest.mark.parametrize("scheme", [name for name in schemes.SCHEMES if name not in ("none", "ALiBi 2-D")])
def test_all_others_tell_left_from_right(scheme: str) -> None:
    found = knows(scheme)
    assert min(found.shuffle, found.mirror, found.turn) > 1e-3
    assert found.words == "where"


def test_all_schemes_are_of_equal_size_but_for_their_tables() -> None:
    counts = {name: sum(p.numel() for p in GridNetwork(name, (8, 8)).parameters()) for name in schemes.SCHEMES}
    plain = counts["none"]
    assert all(plain <= count <= 1.06 * plain for count in counts.values()), counts


def test_one_training_serves_both_ways_to_go_beyond_a_table() -> None:
    for name, trained in schemes.TRAINED_AS.items():
        one, other = GridNetwork(name, (4, 4)).eval(), GridNetwork(trained, (4, 4)).eval()
        one.load_state_dict(other.state_dict())
        for size in ((4, 4), (2, 4)):
            image = torch.rand(1, 3, size[0] * CELL, size[1] * CELL)
            torch.testing.assert_close(one(image), other(image))
        image = torch.rand(1, 3, 6 * CELL, 6 * CELL)
        assert (one(image) - other(image)).abs().max() > 1e-5


def test_clipped_offsets_are_looked_up_pair_by_pair() -> None:
    scheme = ClippedOffsets(2, (3, 4))
    table = scheme.known.relative_position_bias_table.unflatten(0, (5, 7))
    bias = scheme.bias((5, 6))
    for query in range(30):
        for key in range(30):
            (qy, qx), (ky, kx) = divmod(query, 6), divmod(key, 6)
            dy, dx = max(-2, min(2, qy - ky)), max(-3, min(3, qx - kx))
            assert bias[:, query, key].equal(table[dy + 2, dx + 3])


def test_stretched_offsets_keep_what_lies_within_and_stretch_beyond() -> None:
    scheme = StretchedOffsets(2, (3, 4))
    torch.testing.assert_close(scheme.bias((3, 4)), scheme.known.bias((3, 4)))
    torch.testing.assert_close(scheme.bias((2, 3)), scheme.known.bias((2, 3)))
    wide = scheme.bias((3, 8))
    assert wide.shape == (2, 24, 24)
    table = scheme.known.relative_position_bias_table.unflatten(0, (5, 7))
    torch.testing.assert_close(wide[:, 0, 0], table[2, 3])  # the middle of the table stays the middle


def test_numbered_patches_know_their_number_alone() -> None:
    patches = schemes._plain((4, 4)).patch_embed
    fixed, learned = Numbered(patches, 64, None), Numbered(patches, 64, 16)
    square, line = torch.zeros(1, 3, 4 * CELL, 4 * CELL), torch.zeros(1, 3, 2 * CELL, 8 * CELL)
    for numbered in (fixed, learned):
        torch.testing.assert_close(numbered(square), numbered(line))
    torch.testing.assert_close(fixed(square) - patches(square), sinusoidal(16, 64)[None])
    longer = learned(torch.zeros(1, 3, 4 * CELL, 8 * CELL)) - patches(torch.zeros(1, 3, 4 * CELL, 8 * CELL))
    assert longer.shape == (1, 32, 64)
    torch.testing.assert_close(longer.mean((0, 1)), learned.table.mean(0), rtol=0.2, atol=2e-3)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown scheme 'rotary axal': did you mean 'rotary axial'"):
        GridNetwork("rotary axal", (4, 4))
