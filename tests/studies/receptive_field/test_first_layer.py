"""Kernels whose wave and colours are known are told; the tasks ask what they say; few steps already leave the noise."""

import math
from pathlib import Path

import pytest
import torch

from sightline.models.convnet import AlexNet
from sightline.studies.receptive_field import first_layer
from sightline.studies.receptive_field.first_layer import COUNT, KERNEL, SIDE, measures, noise


def waves_of(colour: tuple[float, float, float], cycles: float = 0.2) -> torch.Tensor:
    """Twelve gratings of one colour axis in all directions."""
    place = torch.arange(KERNEL) - KERNEL // 2
    turns = torch.arange(12) * math.pi / 12
    phase = place[:, None] * turns.sin()[:, None, None] + place[None, :] * turns.cos()[:, None, None]
    window = torch.exp(-(place[:, None] ** 2 + place[None] ** 2) / 18.0)
    wave = torch.cos(2 * math.pi * cycles * phase) * window
    return torch.tensor(colour)[None, :, None, None] * wave[:, None]


def test_gratings_are_oriented_and_grey_ones_oppose_no_colours() -> None:
    grey = measures(waves_of((1.0, 1.0, 1.0)))
    assert grey["oriented"] == 1
    assert grey["oriented_median"] > 0.8
    assert grey["cycles_median"] == pytest.approx(0.2, abs=0.02)
    assert grey["opposed"] == 0
    assert measures(waves_of((1.0, -1.0, 0.0)))["opposed"] == 1
    assert measures(waves_of((0.5, 0.5, -1.0)))["opposed"] == 1


def test_noise_is_neither() -> None:
    found = measures(noise(0))
    assert found["kernels"] == COUNT
    assert found["oriented_median"] < 0.1
    assert found["oriented"] == found["opposed"] == 0
    assert float(noise(0).std()) == pytest.approx(first_layer.START, rel=0.02)


def test_crops_for_the_test_are_of_a_part_that_no_training_sees() -> None:
    marked = [torch.arange(640.0).expand(3, 427, 640) for _ in range(2)]
    draw = torch.Generator().manual_seed(0)
    assert float(first_layer.crops(marked, 200, SIDE, draw).max()) < 512
    assert float(first_layer.crops(marked, 200, SIDE, draw, test=True).min()) >= 512


def test_turned_crops_turn_back_to_upright_ones() -> None:
    every = [torch.arange(640.0).expand(3, 427, 640) for _ in range(2)]  # brighter to the right
    image, turns = first_layer.turned(every, 32, torch.Generator().manual_seed(0), False)
    assert set(turns.tolist()) == {0, 1, 2, 3}
    for one, turn in zip(image, turns, strict=True):
        upright = torch.rot90(one, -int(turn), (1, 2))
        assert bool((upright.diff(dim=2) == 1).all())


def test_places_are_where_the_crops_come_from() -> None:
    rows, columns = torch.meshgrid(torch.arange(427.0), torch.arange(640.0), indexing="ij")
    every = [torch.stack([rows, columns, torch.full_like(rows, 1000.0 * which)]) for which in range(2)]
    draw = torch.Generator().manual_seed(0)
    image, places = first_layer.placed(every, 64, draw, False)
    for one, place in zip(image, places.tolist(), strict=True):
        which, cell = divmod(place, first_layer.ROWS * first_layer.COLUMNS)
        row, column = divmod(cell, first_layer.COLUMNS)
        contrast = float(one[0].diff(dim=0).mean())  # one row further is one brighter
        assert 0.5 <= contrast <= 1.5
        tall, wide = 427 - SIDE, 640 - SIDE
        # the tint, some units at most, moves these by a pixel or two
        assert row * tall / first_layer.ROWS - 8 <= float(one[0, 0, 0]) / contrast
        assert float(one[0, 0, 0]) / contrast <= (row + 1) * tall / first_layer.ROWS + 8
        assert column * wide / first_layer.COLUMNS - 8 <= float(one[1, 0, 0]) / contrast
        assert round(float(one[2, 0, 0]) / contrast / 1000) == which


def test_sparse_kernels_leave_the_noise_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_layer, "POOL", 6000)
    monkeypatch.setattr(first_layer, "SOME", 2048)
    learned = first_layer.train("sparse", 40, 0)
    assert measures(learned.kernels)["oriented_median"] > 0.35
    torch.testing.assert_close(learned.kernels.flatten(1).norm(dim=1), torch.ones(COUNT))
    assert learned.score is None


@pytest.mark.parametrize("task", ["rotation", "place", "denoising"])
def test_every_task_begins_with_the_same_noise_and_is_repeatable(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_layer, "BATCH", 8)
    one, again = (first_layer.train(task, 3, 0) for _ in range(2))
    assert one.kernels.shape == (COUNT, 3, KERNEL, KERNEL)
    torch.testing.assert_close(one.kernels, again.kernels)
    assert not torch.allclose(one.kernels, noise(0), atol=1e-3)
    assert one.score is not None
    assert one.chance is not None
    monkeypatch.setattr(first_layer, "rates", lambda steps, most: [1e-6] * steps)
    torch.testing.assert_close(first_layer.train(task, 2, 1).kernels, noise(1), atol=1e-4, rtol=0)


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = list(first_layer.rates(100, 2.0))
    assert rates[9] == max(rates) == 2.0
    assert rates[0] == pytest.approx(0.2)
    assert 0 < rates[-1] < 0.05
    assert len(list(first_layer.rates(1, 2.0))) == 1


def test_the_nearest_orthogonal_matrix() -> None:
    table = torch.randn(5, 5, dtype=torch.float64)
    turn = first_layer.orthogonal(table)
    torch.testing.assert_close(turn @ turn.T, torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(first_layer.orthogonal(3 * turn), turn)


def test_alexnets_own_kernels_come_from_its_file(tmp_path: Path) -> None:
    network = AlexNet(classes=3)
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    torch.testing.assert_close(first_layer.published(tmp_path / "alexnet.pth"), network.features[0].weight.detach())


def test_a_file_of_another_network_is_one_sentence(tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth"):
        first_layer.published(tmp_path / "other.pth")
