"""The page about acting says what is true: its code runs, and its options exist."""

import re
from pathlib import Path

import pytest

from sightline.cli import main
from sightline.rl.learner import Learner

PAGE = Path(__file__).parents[2] / "docs" / "acting.md"


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, tables = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert isinstance(names["learner"], Learner)
    assert names["learner"].steps == 512
    assert len(capsys.readouterr().out.splitlines()) == 2
    exec(tables, {})


def test_every_option_of_the_page_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for agent in ("ppo", "dqn", "sac", "deep-dyna", "q-learning", "dyna"):
        assert main(["act", agent, "--help"]) == 0
    option = r"--[a-z][a-z-]+(?:\.[a-z-]+)?"
    known = set(re.findall(option, capsys.readouterr().out))
    asked = set(re.findall(option, PAGE.read_text())) - {"--nproc-per-node"}
    assert asked <= known
