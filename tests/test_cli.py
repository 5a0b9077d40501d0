"""The command: names, nearest suggestions, one sentence per mistake, exit codes, Ctrl-C."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline import __version__, cli


@dataclasses.dataclass(frozen=True)
class Settings:
    """A study made up for this test."""

    seeds: int = 1
    """How many seeds, one run each."""
    out: Path = Path("runs/made-up")
    """Where everything is written."""
    demo: bool = False
    """The short form."""
    resume: bool = False
    """Go on with what is there."""
    digits: tuple[int, ...] = (2, 4)
    """How many digits."""


ran: list[Settings] = []


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Settings], None]], None]:
    def put(run: Callable[[Settings], None]) -> None:
        ran.clear()
        made_up = {
            "study": ("an experiment", {"made-up": ("for the test", lambda: (Settings, run))}),
            "show": ("a command alone", lambda: (Settings, run)),
        }
        monkeypatch.setattr(cli, "COMMANDS", made_up)

    put(ran.append)
    return put


def failing(error: BaseException) -> Callable[[Settings], None]:
    def run(_settings: Settings) -> None:
        raise error

    return run


def error_of(words: str, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert cli.main(words.split()) == code
    said = capsys.readouterr().err
    assert said.startswith("sightline: ")
    assert said.count("\n") == 1, said
    return said


def test_fields_become_options(command: Any) -> None:
    assert cli.main(["study", "made-up", "--seeds", "3", "--out", "here", "--demo", "--digits", "4", "8"]) == 0
    assert ran == [Settings(seeds=3, out=Path("here"), demo=True, digits=(4, 8))]


def test_a_command_alone_needs_no_name(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "--seeds", "3"]) == 0
    assert ran == [Settings(seeds=3)]
    assert "unknown option for sightline show '--sedes': did you mean '--seeds'? " in error_of("show --sedes 3", capsys)
    assert cli.main(["--help"]) == 0
    assert "sightline show" in capsys.readouterr().out
    assert cli.main(["show", "--help"]) == 0
    assert "How many seeds, one run each." in capsys.readouterr().out


def test_help_and_version(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["study", "--help"]):
        assert cli.main(words) == 0
        assert "made-up" in capsys.readouterr().out
    assert cli.main(["study", "made-up", "--help"]) == 0
    assert "How many seeds, one run each." in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"sightline {__version__}\n"
    assert ran == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("studdy made-up", "unknown command 'studdy': did you mean 'study'? "),
        ("--versoin", "unknown option '--versoin': did you mean '--version'? "),
        ("study made-pu", "unknown name for sightline study 'made-pu': did you mean 'made-up'? "),
        ("study", "sightline study needs a name: it is one of made-up"),
        ("study --demo made-up", "sightline study needs a name before '--demo': it is one of made-up"),
        ("study made-up --sedes 3", "unknown option for sightline study made-up '--sedes': did you mean '--seeds'? "),
        ("study made-up --demos", "did you mean '--demo'? "),
        ("study made-up extra", "sightline study made-up does not know what to do with 'extra'"),
        ("study made-up --seeds three", "Error parsing --seeds: invalid literal for int()"),
        ("study made-up --seeds", "Missing value for argument '--seeds'"),
    ],
)
def test_mistakes_are_one_sentence(command: Any, capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    told = error_of(words, capsys)
    assert said in told
    assert not set("│╭╰─") & set(told)
    assert ran == []


def test_errors_of_the_work_are_one_sentence(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(failing(ValueError("a size\n  does not fit")))
    assert error_of("study made-up", capsys) == "sightline: a size does not fit\n"
    command(failing(FileExistsError("runs/x already holds a run")))
    assert error_of("study made-up", capsys) == "sightline: runs/x already holds a run\n"
    command(lambda _settings: open("/no/such/file"))  # noqa: SIM115
    assert error_of("study made-up", capsys) == "sightline: /no/such/file: no such file or directory\n"
    command(failing(AssertionError("a bug")))  # not for a user to mend: the traceback is wanted
    with pytest.raises(AssertionError):
        cli.main(["study", "made-up"])


def test_a_traceback_can_be_asked_for(
    command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_TRACEBACK", "1")
    command(failing(ValueError("why?")))
    assert cli.main(["study", "made-up"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(failing(KeyboardInterrupt()))
    told = error_of("study made-up --out here", capsys, 130)
    assert told == "sightline: stopped; what was done is kept in here, and the same command with --resume goes on\n"
    command(failing(KeyboardInterrupt("two of four runs are done")))
    assert error_of("study made-up", capsys, 130) == "sightline: two of four runs are done\n"


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for group, (_, members) in cli.COMMANDS.items():
        for name in members if isinstance(members, dict) else [""]:
            assert cli.main([*f"{group} {name}".split(), "--help"]) == 0
            assert f"usage: sightline {group} {name}".rstrip() in capsys.readouterr().out


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "sightline", "stduy"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("sightline: unknown command 'stduy': did you mean 'study'?")
    script = Path(sys.executable).with_name("sightline")
    if script.exists():
        same = subprocess.run([str(script), "stduy"], capture_output=True, text=True, timeout=120)
        assert (same.returncode, same.stderr) == (done.returncode, done.stderr)


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "sightline", "--help"], stdout=writing, stderr=subprocess.PIPE, timeout=120
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_tyros_boxes_are_opened_where_a_terminal_has_lines_to_draw_with() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sightline", "bench", "ops", "--repeats", "three"],
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 2
    said = "Error parsing --repeats: invalid literal for int() with base 10: 'three': see sightline bench ops --help"
    assert done.stderr.decode() == f"sightline: {said}\n"


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_a_real_interrupt_reaches_the_loop() -> None:
    script = (
        "import dataclasses, sys, time\n"
        "from sightline import cli\n"
        "from sightline.run import stop_on_interrupt\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Settings:\n    resume: bool = False\n    out: str = 'there'\n"
        "def run(settings):\n"
        "    with stop_on_interrupt() as stop:\n"
        "        print('ready', flush=True)\n"
        "        while not stop.requested:\n            time.sleep(0.01)\n"
        "    print('saved', flush=True)\n"
        "    raise KeyboardInterrupt\n"
        "cli.COMMANDS = {'study': ('', {'x': ('', lambda: (Settings, run))})}\n"
        "sys.exit(cli.main(['study', 'x']))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (out, child.returncode) == ("saved\n", 130)
    assert err == "sightline: stopped; what was done is kept in there, and the same command with --resume goes on\n"


def test_short_names_are_spelt_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sightline.run.config import rebuild
    from sightline.vision.training.settings import TrainClassify, TrainSegment

    monkeypatch.chdir(tmp_path)
    given = TrainSegment(data="shapes", encoder="resnet50", head="rcca")
    long = cli.with_long_names(given, segments=True)
    assert json.loads(long.encoder)["arguments"] == {"depth": 50, "output_stride": 8}
    assert (long.head, long.data) == (
        "sightline.models.ccnet:CrissCrossHead",
        "sightline.vision.built_in.shapes:Shapes",
    )
    assert cli.with_long_names(long, segments=True) == long
    assert (
        "output_stride" not in cli.with_long_names(TrainClassify(data=".", encoder="resnet50"), segments=False).encoder
    )
    (tmp_path / "shapes").mkdir()
    assert cli.with_long_names(given, segments=True).data == "shapes"  # a folder of that name is what is meant
    with pytest.raises(ValueError, match="unknown encoder 'resnet5': did you mean 'resnet50'"):
        cli.with_long_names(TrainSegment(data="x", encoder="resnet5"), segments=True)
    with torch.device("meta"):
        for segments in (True, False):
            for name, entry in cli.encoders(segments).items():
                assert rebuild(entry).channels > 0, name
        for name in cli.HEADS.values():
            assert rebuild({"object": name, "arguments": {"channels": 8, "classes": 3}}).classes == 3
