"""`sightline bench ops`: the naive forms are right, a wrong operator is not timed, what does not fit says why."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline import cli
from sightline.bench import cases, machine, operators, tables
from sightline.bench.measure import can_measure_memory
from sightline.bench.operators import Operators, mistake, run

CPU = torch.device("cpu")
QUICK = Operators(sizes=(3,), channels=8, repeats=2, memory=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", list(cases.CASES))
def test_every_form_of_every_operator_is_right(name: str, dtype: torch.dtype) -> None:
    assert mistake(cases.CASES[name], dtype, CPU) is None


@pytest.mark.parametrize("form", ["naive", "lean"])
def test_a_wrong_operator_is_found_and_not_timed(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = cases.CASES["dot_product"]

    class Wrong(torch.autograd.Function):  # forward is right, one gradient is not
        @staticmethod
        def forward(ctx: Any, key: torch.Tensor) -> torch.Tensor:
            return key.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return gradient * 1.001

    operator = getattr(right, form)
    wrong = dataclasses.replace(right, **{form: lambda q, k, v: operator(q, Wrong.apply(k), v)})
    monkeypatch.setattr(operators, "CASES", {"broken": wrong, "dot_product": right})
    with pytest.raises(ValueError, match=f"broken is wrong and was not timed: the gradient of key of its {form} form"):
        run(QUICK)
    told = capsys.readouterr().out
    assert "dot_product | 3x3" in told
    assert "broken | " not in told


@pytest.mark.parametrize("name", list(cases.CASES))
def test_the_forms_agree_on_the_inputs_that_are_timed(name: str) -> None:
    case = cases.CASES[name]
    tensors = cases.inputs(case, 1, 8, (5, 5), torch.float64, CPU)
    assert tensors[0].shape == (1, case.width(8), 5, 5)
    naive, lean = cases.calls(case.naive, tensors), cases.calls(case.lean, tensors)
    torch.testing.assert_close(naive["forward"](), lean["forward"]())
    torch.testing.assert_close(naive["training"](), lean["training"]())
    assert all(tensor.grad is None for tensor in tensors), "a call left something behind"


def test_rows_tables_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    run(dataclasses.replace(QUICK, names=("criss_cross",), sizes=(3,), memory=True, out=tmp_path / "new" / "folder"))
    assert torch.get_num_threads() == threads
    results = json.loads((tmp_path / "new" / "folder" / "ops.json").read_text())
    assert [row["map"] for row in results["rows"]] == [[3, 3]]
    for row in results["rows"]:
        for form in ("naive", "lean"):
            assert row["forms"][form]["training_seconds"]["median"] > 0
            assert ("training_bytes" in row["forms"][form]) == can_measure_memory()
        ratio = row["forward_speedup"]
        assert ratio["low"] <= ratio["median"] <= ratio["high"]
    page = (tmp_path / "new" / "folder" / "ops.md").read_text()
    assert "| criss_cross | 3x3 |" in page
    assert "- command: `" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert len(widths) == 1, "every row has as many cells as the heading"
    assert "criss_cross | 3x3" in capsys.readouterr().out


def test_what_would_not_fit_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "memory_available", lambda: 2**20)
    run(dataclasses.replace(QUICK, names=("softmax",), sizes=(3, 24)))
    lines = capsys.readouterr().out.splitlines()
    small, large = ([line for line in lines if size in line] for size in (" 3x3 ", " 24x24 "))
    assert (len(small), len(large)) == (2, 2), "a line for forward, one for training"
    assert not any("skipped" in line for line in small)
    assert all("| skipped" in line for line in large)
    assert "naive would take about 0 GiB, 0 GiB are free" in large[-1]


def test_naive_bytes_is_near_the_truth() -> None:
    if not can_measure_memory():
        pytest.skip("peak memory is measured on Linux alone")
    row = operators.measure_one("softmax", 24, dataclasses.replace(QUICK, memory=True), torch.float32, CPU)
    estimate = cases.CASES["softmax"].naive_bytes(1, 24, 4)
    assert 0.5 < row["forms"]["naive"]["training_bytes"] / estimate < 1.5


def test_the_terminal_table_holds_every_row() -> None:
    from rich.console import Console

    row = operators.measure_one("criss_cross", 3, QUICK, torch.float32, CPU)
    skipped = {**row, "skipped": "naive would take about 9 GiB, 1 GiB are free", "forms": {"naive": {}, "lean": {}}}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables.as_table([row, skipped], memory=True))
    told = console.export_text()
    assert told.count("criss_cross") == 3
    assert told.count("and backward") == 2
    assert "…" not in told, "a number was cut"
    assert "naive would take about 9 GiB" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("softmaxx", "unknown operator 'softmaxx': did you mean 'softmax'?"),
        ("--dtype float23", "unknown dtype 'float23': did you mean 'float32'?"),
        ("--device cuda:99", "'cuda:99' was asked for, but PyTorch sees"),
        ("--repeats 0", "--repeats is at least 1, got 0"),
        ("--sizes 0", "sides of at least 1"),
        ("--repeat 3", "did you mean '--repeats'?"),
    ],
)
def test_mistakes_are_one_sentence(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "ops", *words.split()]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
