"""The study as a whole: what it trains and refuses, what its page says, and that Ctrl-C loses nothing."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.studies.page_reader import self_contained

from sightline.studies.positions import page, study
from sightline.studies.positions.grids import QUESTIONS
from sightline.studies.positions.study import Positions, run, summarise, trainings_of
from sightline.studies.positions.training import Budget


def test_the_full_study_is_every_scheme_from_every_seed_and_nothing_twice() -> None:
    trainings = trainings_of(Positions(seeds=3))
    assert len(trainings) == len(set(trainings)) == 3 * (10 + 6)
    assert len({t.folder for t in trainings}) == len(trainings)
    assert len({t.budget for t in trainings}) == 1
    assert {t.seed for t in trainings[:16]} == {0}
    only = trainings_of(Positions(tasks=("image",), images=("relative clipped", "none")))
    assert [t.scheme for t in only] == ["relative resized", "none"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Positions(images=("rotary",)), "unknown scheme for images 'rotary'"),
        (Positions(sequences=("T5",)), r"unknown scheme for sequences 'T5'"),
        (Positions(tasks=("images",)), r"unknown task 'images': did you mean 'image'\?"),
        (Positions(seeds=0), "--seeds must be at least 1, got 0"),
        (Positions(steps=0), "--steps must be at least 1, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: Positions, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        trainings_of(settings)


def small_budget(steps: int) -> Budget:
    sizes = {"test_cells": ((4, 4), (6, 6)), "test_lengths": (8, 32), "test_canvases": 4, "test_sequences": 4}
    return Budget(steps=steps, batch=2, sequences=2, report_every=2, **sizes)


def test_ctrl_c_keeps_what_is_done_and_resume_goes_on_to_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "Budget", small_budget)
    settings = Positions(out=tmp_path, images=("relative clipped",), sequences=("ALiBi",), steps=3, workers=1)
    first = tmp_path / "runs" / "image-relative-resized-seed0" / "result.json"

    def interrupt() -> None:
        deadline = time.monotonic() + 120
        while not first.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    slow = replace(settings, steps=100_000, sequences=("ALiBi",), images=("none",), out=tmp_path / "slow")
    first = tmp_path / "slow" / "runs" / "image-none-seed0" / "metrics.jsonl"
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt, match="--resume goes on from there"):
        run(slow)
    thread.join()
    assert (first.parent / "checkpoint" / "weights.safetensors").exists()
    assert "This study is unfinished." in self_contained(tmp_path / "slow" / "report.html")

    run(settings)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["finished"]
    assert [(row["task"], row["scheme"]) for row in results["rows"]] == [
        ("image", "relative clipped"),
        ("sequence", "ALiBi"),
    ]
    assert [one["scheme"] for one in results["knows"]] == ["relative resized", "relative clipped"]
    assert len(results["without_where"]) == 2
    words = self_contained(tmp_path / "report.html")
    for expected in ("Green: the digit in the cell to my left", "4 x 4", "best without where", "The first token"):
        assert expected in words
    assert (tmp_path / "strip.png").stat().st_size > 1000
    assert (tmp_path / "task.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="steps was 3 and is now 4"):
        run(replace(settings, steps=4, resume=True))
    run(replace(settings, resume=True))


def made_up(scores: dict[str, tuple[float, float]], seeds: int = 2) -> dict:
    """Results with one number for the trained size and one for every other."""
    sizes = [[6, 6], [8, 8], [12, 12]]
    rows = [
        {
            "task": "image", "scheme": scheme, "seed": seed, "seconds": 10.0, "parameters": 1000,
            "tests": [
                {"size": size, "scores": dict.fromkeys(QUESTIONS, score + seed / 100)}
                for size in sizes for score in [there if size == [8, 8] else elsewhere]
            ],
        }
        for scheme, (there, elsewhere) in scores.items() for seed in range(seeds)
    ]  # fmt: skip
    bound = [{"size": size, "scores": dict.fromkeys(QUESTIONS, 0.2)} for size in sizes]
    return {
        "summary": summarise(rows), "rows": rows, "without_where": bound, "knows": [], "finished": True,
        "settings": {"cells": [8, 8], "length": 32}, "chance": dict.fromkeys(QUESTIONS, 0.1), "command": "x",
    }  # fmt: skip


def test_the_answer_tells_who_knows_where_and_who_still_does() -> None:
    results = made_up({"none": (0.2, 0.2), "good": (0.95, 0.92), "forgets": (0.98, 0.3)})
    (every, _), (lead, said), *_ = page.answer_of(results)
    assert every == "Everywhere, in every sense: good."
    assert lead == "Green: the digit in the cell to my left, at every size: good."
    assert said == "At 8 x 8, where it was trained, also forgets."
    results = made_up({"none": (0.2, 0.2), "forgets": (0.98, 0.3)})
    assert page.answer_of(results)[1] == (
        "Green: the digit in the cell to my left, at every size: nobody.",
        "At 8 x 8, where it was trained, forgets. forgets comes nearest, 0.30 at its worst size.",
    )
    assert page.answer_of(results)[0][0] == "No encoding knows where in all three senses at every size."
    tiles = page.tiles(results, "image", "left")
    assert "0.20" in tiles
    assert "0.98\u20130.99" in tiles
    assert "0.20\u20130.20" not in tiles
    table = page.tables_of(results)[0]
    assert table.rows[1][:4] == ["forgets", "left", "0.30 [0.30, 0.31]", "0.98 [0.98, 0.99]"]


def test_the_summary_is_over_seeds() -> None:
    (one,) = made_up({"good": (0.9, 0.5)}, seeds=3)["summary"]
    assert one["seeds"] == 3
    assert one["tests"][1]["scores"]["row"] == pytest.approx({"mean": 0.91, "low": 0.9, "high": 0.92})
    assert study.MARKS.keys() >= set(QUESTIONS)
