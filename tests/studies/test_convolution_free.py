"""The patch embedding by loops over patches, what moves and what does not, and a page that says the measured "
"numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.studies.page_reader import self_contained

from sightline.studies import convolution_free, convolution_free_page
from sightline.studies.convolution_free import ConvolutionFree, run


def small(seed: int = 0, size: tuple[int, int] = (24, 32)) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_unfold_and_linear_are_the_patch_embedding_patch_by_patch() -> None:
    image, kernels = small(), torch.randn(5, 3, 4, 4, dtype=torch.float64)
    layer = convolution_free.embedding(kernels)
    by_hand = torch.stack(
        [
            torch.stack(
                [(image[0, :, y : y + 4, x : x + 4] * kernel).sum() for kernel in kernels]
            ) + layer.proj.bias
            for y in range(0, 24, 4)
            for x in range(0, 32, 4)
        ]
    )  # fmt: skip
    torch.testing.assert_close(layer(image)[0], by_hand, rtol=0, atol=1e-12)
    unfolded = convolution_free.unfold_and_multiply(image, kernels, layer.proj.bias)
    torch.testing.assert_close(unfolded[0], by_hand, rtol=0, atol=1e-12)


def test_principal_kernels_are_orthonormal_and_ordered() -> None:
    image = small(size=(64, 64))
    kernels = convolution_free.principal_kernels(image, 4, 48).flatten(1)
    torch.testing.assert_close(kernels @ kernels.t(), torch.eye(48, dtype=torch.float64), rtol=0, atol=1e-10)
    matrix = convolution_free.patches_of(image, 4)
    spread = (matrix @ kernels.t()).var(0)
    assert (spread.diff() <= 1e-9).all()
    more = convolution_free.principal_kernels(image, 4, 60)
    assert more.shape == (60, 3, 4, 4)
    torch.testing.assert_close(more[:48].flatten(1), kernels)


def test_only_whole_strides_are_followed() -> None:
    image, kernels = small(size=(64, 96)), torch.randn(6, 3, 8, 8, dtype=torch.float64)
    rows = convolution_free.strides(image, kernels)
    assert [row["stride"] for row in rows] == [8, 4, 2, 1]
    assert [row["reads"] for row in rows] == [1, 4, 16, 64]
    for row in rows:
        for shift, moved in enumerate(row["moved"]):
            assert (moved < 1e-12) == (shift % row["stride"] == 0)
        assert row["followed"] == sum(shift % row["stride"] == 0 for shift in range(row["shifts"]))


def test_the_study_leaves_numbers_that_agree_and_a_page_that_says_them(tmp_path: Path) -> None:
    run(ConvolutionFree(out=tmp_path, patch=16, channels=12))
    results = json.loads((tmp_path / "results.json").read_text())
    for row in results["differences"]:
        bound = 1e-13 if row["dtype"] == "float64" else 1e-4
        apart = [row[name] for name in ("tokens", "gradient_image", "gradient_kernels", "gradient_bias")]
        assert max(apart) < bound
    count = results["operations"]
    assert count["convolution"] == count["unfold_and_linear"] == count["formula"]
    assert count["formula"] == 2 * 12 * (427 // 16) * (640 // 16) * 3 * 16 * 16
    assert results["one_patch"] == {"tokens": 26 * 40, "changed": 1, "right_one": 1}
    words = self_contained(tmp_path / "report.html")
    for expected in ("1040 tokens", "changes 1 token of 1040", "19.2 M", "sightline study convolution-free --out"):
        assert expected in words
    assert (tmp_path / "steps.png").stat().st_size > 1000


def test_kernels_are_drawn_on_one_scale() -> None:
    kernels = torch.zeros(3, 3, 4, 4, dtype=torch.float64)
    kernels[0, 0] = 2.0
    kernels[1] = -1.0
    grid = convolution_free_page.kernel_grid(kernels)
    side, gap = 4 * convolution_free_page.ENLARGED, convolution_free_page.GAP
    assert grid.shape == (side, 3 * side + 2 * gap, 3)
    first, second, third = (grid[:, place * (side + gap) :][:, :side] for place in range(3))
    assert np.unique(first.reshape(-1, 3), axis=0).tolist() == [[255, 128, 128]]
    assert np.unique(second).tolist() == [64]
    assert np.unique(third).tolist() == [128]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (ConvolutionFree(photograph="chima"), "unknown photograph 'chima': did you mean 'china'"),
        (ConvolutionFree(patch=200), "--patch 200 leaves 2 x 3 patches of the photograph: take at most 106"),
        (ConvolutionFree(patch=0), "--patch must be at least 1, got 0"),
        (ConvolutionFree(channels=-1), "--channels must be at least 1, got -1"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: ConvolutionFree, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(settings)
