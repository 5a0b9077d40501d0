"""The whole study with tiny settings: its numbers, its pictures, its page, its options, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from tests.studies.page_reader import self_contained

from sightline.models.convnet import AlexNet
from sightline.studies.receptive_field import page, pictures
from sightline.studies.receptive_field.first_layer import noise
from sightline.studies.receptive_field.growth import seven_to_three
from sightline.studies.receptive_field.repairs import NAMES
from sightline.studies.receptive_field.study import ReceptiveField, check, run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    torch.save(AlexNet().state_dict(), folder / "alexnet.pth")
    run(ReceptiveField(out=folder / "out", tasks=("rotation", "sparse"), weights=folder / "alexnet.pth", quick=True))
    return folder / "out"


def test_the_page_says_what_was_found(study: Path) -> None:
    words = self_contained(study / "report.html")
    for expected in (
        "What does a stack of convolutions see?",
        "Each layer adds (K - 1) x dilation x the product of the strides before it.",
        "7 x 7 becomes 3 x 3",
        "not trained: noise, no result",
        "AlexNet's own, from the file",
        "It ran with --quick",
        "These first layers have not learned",
        "sightline study receptive-field --out",
    ):
        assert expected in words, expected


def test_every_number_is_in_the_results(study: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    assert not results["finished"]
    assert {row["network"] for row in results["repairs"]} == set(NAMES)
    tasks = [row["task"] for row in results["kernels"]]
    assert (tasks[0], tasks[-1]) == ("AlexNet", "noise")
    assert set(tasks) == {"AlexNet", "rotation", "sparse", "noise"}
    assert all(row["uniform"] == pytest.approx(row["closed_form"]) for row in results["law"])
    titles = [table.title for table in page.tables_of(results)]
    assert titles == ["Growth", "Repairs", "The law of the root", "Kernels", "Every layer"]
    for table in page.tables_of(results):
        assert {len(row) for row in table.rows} == {len(table.head)}


def test_pictures_lie_beside_the_page(study: Path) -> None:
    for name in ("seven", "sights", "kernels"):
        assert (study / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (ReceptiveField(seeds=0), "--seeds must be at least 1, got 0"),
        (ReceptiveField(steps=0), "--steps must be at least 1, got 0"),
        (ReceptiveField(tasks=("rotate",)), "rotation"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: ReceptiveField, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check(settings)


def test_a_file_that_is_not_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check(ReceptiveField(weights=tmp_path / "none.pth"))


def test_nine_outlines_are_told_apart() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    pictures.paint_input(axes, seven_to_three())
    outlined = [patch for patch in axes.patches if not patch.get_fill()]
    assert len(outlined) == 9
    assert len({tuple(patch.get_edgecolor()) for patch in outlined}) == 9
    assert [text.get_text() for text in axes.texts] == [str(number) for number in range(1, 10)]
    for axis in (0, 1):  # neighbours are inset by turns, so that no outline covers another
        assert len({round(patch.get_xy()[axis], 6) for patch in outlined}) == 6


def test_sets_of_kernels_share_a_scale() -> None:
    loud, quiet = page.common(7 * noise(1)), page.common(noise(1))
    torch.testing.assert_close(loud, quiet)
    assert pictures.draw_kernels(loud, 4.0) == pictures.draw_kernels(quiet, 4.0)


def test_a_smoothed_heat_keeps_its_mass_and_its_middle() -> None:
    heat = torch.zeros(31, 31)
    heat[15, 15] = 1.0
    blurred = pictures.smoothed(heat.numpy(), 2.0)
    assert blurred.sum() == pytest.approx(1)
    assert blurred.argmax() == 15 * 31 + 15
