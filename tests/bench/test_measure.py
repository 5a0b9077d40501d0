"""The measuring itself: turns, ratios, and a peak of memory that is known beforehand."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sightline.bench import machine
from sightline.bench.measure import can_measure_memory, interleave, peak_memories, peak_memory, speedup, spread

MEGABYTE = 2**20
needs_linux = pytest.mark.skipif(not can_measure_memory(), reason="peak memory is measured on Linux alone")


def adds(megabytes: int, copies: int) -> Callable[[], list[torch.Tensor]]:
    x = torch.zeros(megabytes * MEGABYTE // 4)
    return lambda: [x + i for i in range(copies)]


def adds_twice() -> dict[str, Callable[[], list[torch.Tensor]]]:
    return {"much": adds(16, 4), "little": adds(16, 1)}  # the larger peak first: the smaller one must not inherit it


def fails() -> Callable[[], None]:
    raise ValueError("this one cannot be built")


def test_functions_take_turns() -> None:
    calls: list[str] = []
    seconds = interleave({name: lambda name=name: calls.append(name) for name in "abc"}, 3, clock="wall", warmup=1)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert min(value for values in seconds.values() for value in values) >= 0
    # Each turn holds every function once, and each function leads one of the measured turns.
    turns = ["".join(calls[i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert sorted(turn[0] for turn in turns[1:]) == ["a", "b", "c"]


def test_bad_input_in_words() -> None:
    with pytest.raises(ValueError, match="unknown clock 'cup': it is one of cpu, wall"):
        interleave({}, clock="cup")
    with pytest.raises(ValueError, match="at least 1 repeat is needed, got 0"):
        interleave({}, 0)
    with pytest.raises(ValueError, match="cannot be found by another process"):
        peak_memory(lambda: lambda: None)


def test_ratios_are_taken_within_a_turn() -> None:
    # The second turn met a neighbour: both functions took ten times as long, and the ratio does not notice.
    ratio = speedup({"slow": [2.0, 20.0, 2.0], "fast": [1.0, 10.0, 1.0]}, "slow", "fast")
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 2.0)
    assert spread([5.0]).high == 5.0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]).low == 2.0


@needs_linux
@pytest.mark.parametrize("copies", [1, 3])
def test_a_known_peak_is_found(copies: int) -> None:
    peak = peak_memory(f"{__file__}:adds", (32, copies))
    assert peak is not None
    assert copies * 32 * MEGABYTE * 0.95 < peak < copies * 32 * MEGABYTE * 1.1


@needs_linux
def test_several_peaks_do_not_mix() -> None:
    peaks = peak_memories(f"{__file__}:adds_twice")
    assert peaks is not None
    assert 61 * MEGABYTE < peaks["much"] < 68 * MEGABYTE
    assert 15 * MEGABYTE < peaks["little"] < 18 * MEGABYTE


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="fails: ValueError: this one cannot be built"):
        peak_memory(f"{__file__}:fails")


@needs_linux
def test_a_script_measures_its_own_functions(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom sightline.bench.measure import peak_memory\n"
        "def build(n):\n    x = torch.zeros(n)\n    return lambda: x + 1\n"
        "if __name__ == '__main__':\n    print(peak_memory(build, [2**22]))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert 15 * MEGABYTE < int(done.stdout) < 18 * MEGABYTE


def test_what_stands_beside_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/sightline", "bench", "ops"])
    told = machine.provenance()
    assert told["command"] == "sightline bench ops"
    assert torch.__version__ in told["machine"]
    assert "threads in use" in told["machine"]
    assert told["commit"]
    for program in (Path.cwd() / "benchmarks" / "x.py", "benchmarks/x.py"):
        monkeypatch.setattr(sys, "argv", [str(program), "--size", "3"])
        assert machine.command() == "python benchmarks/x.py --size 3"
    available = machine.memory_available()
    assert available is None or available > 0
