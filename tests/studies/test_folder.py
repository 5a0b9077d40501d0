"""A study's folder is opened once, resumed by the same settings only, and its command is what one would type."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sightline.studies.folder import at_least_one, command_of, open_study


@dataclass(frozen=True)
class MadeUp:
    """Settings of no study."""

    out: Path = Path("runs/x")
    resume: bool = False
    seeds: int = 1
    demo: bool = False
    test_sizes: tuple[int, ...] = (2, 4)


def test_the_command_is_written_as_one_would_type_it() -> None:
    settings = MadeUp(out=Path("a folder"), resume=True, demo=True, test_sizes=(3, 5))
    assert command_of("made-up", settings) == "sightline study made-up --out 'a folder' --demo --test-sizes 3 5"


def test_a_folder_holds_one_study(tmp_path: Path) -> None:
    settings = MadeUp(out=tmp_path / "new")
    assert open_study(settings, ("demo", "test_sizes")) == tmp_path / "new"
    with pytest.raises(FileExistsError, match=r"already holds a study: resume it \(--resume\)"):
        open_study(settings, ("demo", "test_sizes"))
    resumed = replace(settings, resume=True, seeds=3)
    assert open_study(resumed, ("demo", "test_sizes")) == tmp_path / "new"
    with pytest.raises(ValueError, match=r"is another \(test_sizes was \[2, 4\] and is now \[8\]\)"):
        open_study(replace(resumed, test_sizes=(8,)), ("demo", "test_sizes"))
    with pytest.raises(ValueError, match="seeds was None and is now 3"):
        open_study(resumed, ("demo", "test_sizes", "seeds"))


def test_numbers_below_one_are_refused_by_the_name_of_their_option() -> None:
    at_least_one(MadeUp(), "seeds")
    with pytest.raises(ValueError, match="--seeds must be at least 1, got 0"):
        at_least_one(MadeUp(seeds=0), "seeds")
