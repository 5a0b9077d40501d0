"""Laws are found again, sizes that would not fit are left out, the page says what was measured and what was not."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.studies.page_reader import self_contained

from sightline.bench.measure import can_measure_memory
from sightline.studies import memory
from sightline.studies.memory import FORMS, Memory, fit, run

EXPONENTS = dict(zip(FORMS, (4.0, 2.0, 3.0, 2.0, 2.0), strict=True))
START = 1e3  # bytes that a layer takes at any size


def made_up(forms, side, settings):
    """Rows as `memory.measure` gives them, by laws that are known."""
    return [
        {
            "form": form, "side": side, "positions": (side // settings.stride) ** 2,
            "seconds": 1e-9 * side**3, "seconds_low": 0.9e-9 * side**3, "seconds_high": 1.1e-9 * side**3,
            "bytes": START + 0.01 * side ** EXPONENTS[form],
        }
        for form in forms
    ]  # fmt: skip


@pytest.mark.parametrize("exponent", [0.97, 2.0, 3.5])
@pytest.mark.parametrize("start", [0.0, 3e5])
def test_a_law_is_found_again(exponent: float, start: float) -> None:
    sides = [16.0, 32.0, 48.0, 64.0, 96.0]
    law = fit(sides, [start + 7 * side**exponent for side in sides], start=True)
    assert law is not None
    assert law.exponent == pytest.approx(exponent)
    assert law.factor == pytest.approx(7, rel=1e-3)
    assert law.start == pytest.approx(start, rel=1e-3, abs=1e-2)
    assert law(law.side_at(1e7)) == pytest.approx(1e7)
    assert fit(sides[:1], sides[:1]) is None


def test_no_layer_starts_below_nothing() -> None:
    sides = [32.0, 48.0, 64.0, 96.0]
    law = fit(sides, [7 * side**2 - 3000 for side in sides], start=True)
    assert law is not None
    assert law.start == 0
    assert law.exponent > 2


def test_the_forms_are_the_same_function_and_a_wrong_one_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.check_forms(16) < 1e-5
    case = memory.OPERATORS[memory.NON_LOCAL]
    wrong = replace(case, naive=lambda query, key, value: 1.01 * case.naive(query, key, value))
    monkeypatch.setitem(memory.OPERATORS, memory.NON_LOCAL, wrong)
    with pytest.raises(RuntimeError, match="the naive and the lean forms differ by"):
        memory.check_forms(16)


@pytest.mark.parametrize("form", FORMS)
def test_a_step_is_a_gradient_of_everything(form: str) -> None:
    gradients = memory.step(form, 16, 3)()
    assert gradients[0].shape == (1, 16, 3, 3)
    assert len(gradients) == 1 + len(list(memory.layer(form, 16).parameters()))
    assert all(torch.isfinite(one).all() for one in gradients)


def test_a_size_that_would_take_too_long_or_too_much_is_left_out() -> None:
    settings = Memory(seconds=1.0, memory=1.0)
    rows = [row for side in (128, 256) for row in made_up(FORMS, side, settings)]
    assert all(memory.would_fit(rows, form, 384, settings) for form in FORMS)
    assert not memory.would_fit(rows, FORMS[0], 600, settings)  # bytes
    assert memory.would_fit(rows, FORMS[1], 600, settings)
    assert not memory.would_fit(rows, FORMS[1], 1100, settings)  # seconds
    assert memory.would_fit([], FORMS[0], 10**6, settings)


def test_the_page_says_what_was_measured_and_what_the_law_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "measure", made_up)
    sides = (64, 128, 256, 512, 1024)
    settings = Memory(out=tmp_path, memory=0.021, sides=sides, seconds=100.0)
    run(settings)
    results = json.loads((tmp_path / "results.json").read_text())
    found = {one["form"]: one for one in results["summary"]}
    for form, exponent in EXPONENTS.items():
        exact = ((0.021e9 - START) / 0.01) ** (1 / exponent)
        assert found[form]["memory_law"]["exponent"] == pytest.approx(exponent, abs=0.02)
        assert found[form]["largest_side"] == pytest.approx(exact, rel=0.02)
        assert found[form]["extrapolated"] == (exact > found[form]["measured_to"])
        assert found[form]["seconds_there"] == pytest.approx(1e-9 * exact**3, rel=0.1)
    words = self_contained(tmp_path / "report.html")
    assert "naive non-local: 210 x 210 pixels, by its law" in words
    assert "lean non-local: 46000 x 46000 pixels, by its law; memory grows as side^2.0, time as side^3.0" in words
    assert "What stores a table of weights stops first" in words
    assert "sightline study memory --out" in words
    assert "unfinished" not in words
    with pytest.raises(FileExistsError, match="already holds a study"):
        run(settings)


def test_a_limit_between_two_measured_sizes_is_called_measured() -> None:
    settings = Memory(sides=(64, 128, 256, 512))
    rows = [row for side in settings.sides for row in made_up(FORMS[1:2], side, settings)]
    for side, extrapolated in ((500, False), (520, True)):
        memory_of_side = (START + 0.01 * side**2) / 1e9
        (one,) = memory.summarise(rows, replace(settings, memory=memory_of_side))
        assert one["largest_side"] == pytest.approx(side, rel=1e-3)
        assert one["extrapolated"] is extrapolated


def test_ctrl_c_keeps_the_sizes_that_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def interrupted(forms, side, settings):
        measured.append(side)
        if side == 128:
            os.kill(os.getpid(), signal.SIGINT)
        return made_up(forms, side, settings)

    monkeypatch.setattr(memory, "measure", interrupted)
    settings = Memory(out=tmp_path, sides=(64, 128, 256, 512), seconds=100.0)
    with pytest.raises(KeyboardInterrupt, match="--resume goes on"):
        run(settings)
    assert measured == [64, 128]
    assert "This study is unfinished." in self_contained(tmp_path / "report.html")
    run(replace(settings, resume=True))
    assert measured == [64, 128, 256, 512]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["finished"]
    assert [row["side"] for row in results["rows"] if row["form"] == FORMS[1]] == [64, 128, 256, 512]


def test_it_measures() -> None:
    rows = memory.measure(FORMS[1:4:2], 64, Memory(channels=8, stride=4, repeats=1))
    assert [row["form"] for row in rows] == [FORMS[1], FORMS[3]]
    for row in rows:
        assert row["positions"] == 256
        assert 0 < row["seconds_low"] <= row["seconds"] <= row["seconds_high"] < 5
        if can_measure_memory():
            assert 0 < row["bytes"] < 1e8


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Memory(memory=0.0), "--memory and --seconds must be positive, got 0 and 4"),
        (Memory(channels=100), "--channels beyond 64 must be a multiple of it"),
        (Memory(repeats=0), "--repeats must be at least 1, got 0"),
        (Memory(sides=(128,)), "--sides must be two or more"),
        (Memory(sides=(256, 128)), "each larger than the one before"),
        (Memory(sides=(8, 128)), "at least 16, twice the stride, got 8 128"),
        (Memory(sides=(128, 130)), "must be multiples of the stride 8, got 128 130"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: Memory, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(settings)
