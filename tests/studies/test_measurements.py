"""Parts are kept, resumed and stopped; spreads and names are read back."""

import json
import os
import signal
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from sightline.studies.measurements import Part, of_kind, run_parts, spread


@dataclass(frozen=True)
class Settings:
    """Of a study made up for this test."""

    out: Path = Path("nowhere")
    resume: bool = False
    quick: bool = False
    seeds: int = 3


def study(settings: Settings, done: list[int], stop_at: int | None = None) -> None:
    def measure(seed: int) -> dict[str, int]:
        done.append(seed)
        if seed == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return {"square": seed * seed}

    def page(out: Path, results) -> Path:
        (out / "report.html").write_text(str(results["summary"]))
        return out / "report.html"

    run_parts(
        "made-up",
        settings,
        (),
        [Part(f"squares, {seed}", partial(measure, seed)) for seed in range(settings.seeds)],
        facts={"what": "squares"},
        summarise=lambda parts: sum(value["square"] for value in parts.values()),
        write_page=page,
    )


def test_a_stopped_study_goes_on_where_it_was(tmp_path: Path) -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        study(Settings(tmp_path), done, stop_at=1)
    assert done == [0, 1]
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["finished"], results["summary"]) == (False, 1)
    assert (tmp_path / "report.html").read_text() == "1"
    study(Settings(tmp_path, resume=True), done)
    assert done == [0, 1, 2]
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["finished"], results["summary"]) == (True, 5)
    assert list(results["parts"]) == ["squares, 0", "squares, 1", "squares, 2"]
    assert results["settings"] == {"seeds": 3, "quick": False, "what": "squares"}


def test_more_seeds_are_added_and_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    done: list[int] = []
    settings = Settings(tmp_path, seeds=1)
    study(settings, done)
    with pytest.raises(FileExistsError, match="already holds a study"):
        study(settings, done)
    study(replace(settings, resume=True, seeds=2), done)
    assert done == [0, 1]


def test_a_number_that_is_none_is_not_kept(tmp_path: Path) -> None:
    part = Part("bad", lambda: float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        run_parts("made-up", Settings(tmp_path), (), [part], facts={}, summarise=dict, write_page=lambda out, _: out)


def test_names_and_spreads() -> None:
    parts = {"walk, 3, 0": 1, "walks, 3, 0": 2, "walk, 4, 1": 3}
    assert of_kind(parts, "walk") == [(["3", "0"], 1), (["4", "1"], 3)]
    assert spread([1.0, 2.0, 6.0]) == {"mean": 3.0, "low": 1.0, "high": 6.0}


def test_the_facts_of_the_whole_study_are_not_those_of_a_quick_one(tmp_path: Path) -> None:
    study(Settings(tmp_path / "made-up", quick=True), [])
    results = json.loads((tmp_path / "made-up" / "results.json").read_text())
    assert results["settings"] == {"seeds": 3, "quick": True}
