"""What TensorBoard reads back is what `metrics.jsonl` says: every step once, after every kind of interruption."""

import json
import sys

import pytest

from sightline.run import append_metrics
from sightline.run.tensorboard import Events, run, write_events

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")


def read_back(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_number_becomes_a_curve(tmp_path):
    append_metrics(tmp_path, {"step": 1, "loss": 0.5, "note": "words", "right": True, "lr": None})
    append_metrics(tmp_path, {"step": 4, "loss": 0.25, "score": 1})
    assert write_events(tmp_path) == 2
    assert read_back(tmp_path) == {"loss": [(1, 0.5), (4, 0.25)], "score": [(4, 1.0)]}


def test_an_agents_rows_lie_over_its_environment_steps(tmp_path):
    append_metrics(tmp_path, {"steps": 512, "return_mean": 20.5})
    append_metrics(tmp_path, {"steps": 1024, "return_mean": 21.0})
    write_events(tmp_path)
    assert read_back(tmp_path) == {"return_mean": [(512, 20.5), (1024, 21.0)]}


def test_further_calls_add_what_came_since_and_repeat_nothing(tmp_path):
    assert write_events(tmp_path) == 0
    for step in range(6):
        append_metrics(tmp_path, {"step": step, "loss": step / 8})
        if step % 2:
            assert write_events(tmp_path) == 2
            assert write_events(tmp_path) == 0
    assert read_back(tmp_path) == {"loss": [(step, step / 8) for step in range(6)]}


def test_a_resumed_run_repeats_no_step(tmp_path):
    for step in range(6):
        append_metrics(tmp_path, {"step": step, "loss": step / 8})
    write_events(tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:3]))  # what a resume does
    write_events(tmp_path)
    assert read_back(tmp_path) == {"loss": [(step, step / 8) for step in range(3)]}
    for step in range(3, 8):
        append_metrics(tmp_path, {"step": step, "loss": step / 4})
    write_events(tmp_path)
    assert read_back(tmp_path) == {"loss": [(step, step / (8 if step < 3 else 4)) for step in range(8)]}


def test_a_call_that_was_killed_leaves_nothing_twice(tmp_path):
    append_metrics(tmp_path, {"step": 0, "loss": 1.0})
    write_events(tmp_path)
    note = (tmp_path / "tensorboard" / "written.json").read_text()
    append_metrics(tmp_path, {"step": 1, "loss": 2.0})
    write_events(tmp_path)
    (tmp_path / "tensorboard" / "written.json").write_text(note)  # killed before the note was written
    write_events(tmp_path)
    assert read_back(tmp_path) == {"loss": [(0, 1.0), (1, 2.0)]}
    (tmp_path / "tensorboard" / "written.json").write_text("{torn")
    write_events(tmp_path)
    assert read_back(tmp_path) == {"loss": [(0, 1.0), (1, 2.0)]}


def test_many_calls_within_a_second_are_read_in_order(tmp_path):
    for step in range(12):  # the writer's counter of files passes from one digit to two
        append_metrics(tmp_path, {"step": step, "loss": float(step)})
        write_events(tmp_path)
    assert read_back(tmp_path) == {"loss": [(step, float(step)) for step in range(12)]}


def test_a_torn_line_is_left_out_and_rows_without_a_step_are_counted(tmp_path):
    rows = [json.dumps({"loss": 1.0}), json.dumps({"loss": 2.0}), '{"loss": 3']
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows))
    assert write_events(tmp_path) == 2
    (tmp_path / "metrics.jsonl").write_text("\n".join([*rows[:2], json.dumps({"loss": 3.0}), ""]))
    assert write_events(tmp_path) == 1
    assert read_back(tmp_path) == {"loss": [(0, 1.0), (1, 2.0), (2, 3.0)]}


def test_the_command_says_where_to_look(tmp_path, capsys):
    append_metrics(tmp_path, {"step": 0, "loss": 1.0})
    run(Events(tmp_path))
    assert capsys.readouterr().out == f"1 new rows; to see them: tensorboard --logdir {tmp_path}\n"
    with pytest.raises(ValueError, match="is no run folder"):
        run(Events(tmp_path / "none"))


def test_without_tensorboard_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'sightline\[tensorboard\]'"):
        write_events(tmp_path)
