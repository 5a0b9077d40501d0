"""The study as a command: what it trains, what it refuses, what it leaves behind, and that Ctrl-C loses nothing."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline.studies.folder import command_of
from sightline.studies.long_range.networks import NETWORKS
from sightline.studies.long_range.scenes import load_scenes
from sightline.studies.long_range.study import LongRange, run, trainings_of


def test_the_full_study_is_every_network_on_every_task_from_every_seed() -> None:
    trainings = trainings_of(LongRange(seeds=3))
    assert len(trainings) == len(set(trainings)) == len(NETWORKS) * 4 * 3
    assert {t.seed for t in trainings[: len(NETWORKS) * 4]} == {0}
    assert len({t.folder for t in trainings}) == len(trainings)
    assert len({t.budget for t in trainings}) == 1


def test_the_demo_is_four_networks_from_one_seed() -> None:
    trainings = trainings_of(LongRange(demo=True))
    assert [t.network for t in trainings] == [
        "global average pooling",
        "criss-cross R=1",
        "criss-cross R=2",
        "non-local",
    ]
    assert {(t.task, t.digits, t.seed) for t in trainings} == {("recall", 4, 0)}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (LongRange(networks=("nonlocal",)), r"unknown network 'nonlocal': did you mean 'non-local'\?"),
        (LongRange(tasks=("key class",)), r"unknown task 'key class': did you mean 'key-class'\?"),
        (LongRange(seeds=0), "--seeds must be at least 1, got 0"),
        (LongRange(steps=-5), "--steps must be at least 1, got -5"),
        (LongRange(workers=0), "--workers must be at least 1, got 0"),
        (LongRange(digits=(4, 137)), r"--digits must lie between 1 and 136, the cells that squares leave free, got"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: LongRange, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        trainings_of(settings)


def test_the_command_is_written_as_one_would_type_it() -> None:
    settings = LongRange(demo=True, out=Path("runs/x"), resume=True, networks=("non-local", "criss-cross R=2"))
    assert command_of("long-range", settings) == (
        "sightline study long-range --demo --out runs/x --networks non-local 'criss-cross R=2'"
    )


def test_a_small_study_leaves_results_scenes_and_a_page(tmp_path: Path) -> None:
    out = tmp_path / "study"
    settings = LongRange(out=out, networks=("criss-cross R=1",), tasks=("recall",), digits=(2,), steps=3, workers=1)
    run(settings)
    results = json.loads((out / "results.json").read_text())
    assert results["finished"]
    (row,) = results["rows"]
    assert row["steps"] == 3
    assert row["tested"]["beyond"] > 0
    assert row["tested"]["beyond_changed"] == 0
    assert 0.1 < row["reach"] < 0.2
    assert row["flops"] > 1e6
    assert results["summary"][0]["verdict"] == "cannot see"
    scenes = load_scenes(out / "scenes.npz")
    assert scenes[0].networks == ["criss-cross R=1"]
    assert scenes[0].reach.shape == (1, 144, 12, 12)
    assert scenes[0].reach.sum(axis=(2, 3)).tolist() == [[23] * 144]
    assert scenes[0].looks.shape == (1, 144, 12, 12)
    assert not scenes[0].looks[~scenes[0].reach].any()
    assert (out / "report.html").exists()

    with pytest.raises(FileExistsError, match=r"already holds a study: resume it \(--resume\)"):
        run(settings)
    with pytest.raises(ValueError, match="steps was 3 and is now 4"):
        run(LongRange(out=out, networks=("criss-cross R=1",), tasks=("recall",), digits=(2,), steps=4, resume=True))


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "study"
    words = ["--out", str(out), "--tasks", "recall", "--digits", "2", "--networks", "non-local", "--steps", "100000"]
    command = [sys.executable, "-m", "sightline", "study", "long-range", *words]
    study = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = out / "runs" / "recall-2-non-local-seed0" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not metrics.exists() and study.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    study.send_signal(signal.SIGINT)
    said, complaint = study.communicate(timeout=300)
    assert study.returncode == 130, said + complaint
    assert "--resume goes on" in complaint
    assert "Traceback" not in complaint
    results = json.loads((out / "results.json").read_text())
    assert not results["finished"]
    assert results["rows"] == []
    assert (metrics.parent / "checkpoint" / "weights.safetensors").exists()
    assert (out / "report.html").exists()


@pytest.mark.slow
def test_the_claim_of_the_demo(tmp_path: Path) -> None:
    """Four digits, three seeds: one pass cannot see, two passes learn most, all pairs learn, pooling does not."""
    run(LongRange(demo=True, seeds=3, out=tmp_path / "study"))
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    found = {one["network"]: one for one in results["summary"]}
    said = {network: one["verdict"] for network, one in found.items() if network != "criss-cross R=2"}
    assert said == {
        "global average pooling": "can see but did not learn it in this budget",
        "criss-cross R=1": "cannot see",
        "non-local": "learned",
    }
    # Two passes end beside the edge of "learned": what they can do at all is what one pass cannot.
    assert found["criss-cross R=2"]["score_low"] > 0.8 > 3 * found["criss-cross R=1"]["ceiling"]
    assert all(row["score"] < row["ceiling"] + 4 * row["score_error"] for row in results["rows"])
    assert {one["seeds"] for one in results["summary"]} == {3}
