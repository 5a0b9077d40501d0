"""The agents learn: every recipe of `benchmarks/learning.py` that names a bar reaches it with each of three seeds."""

import importlib.util
import shlex
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "learning.py"
spec = importlib.util.spec_from_file_location("learning_recipes", FILE)
assert spec is not None
assert spec.loader is not None
learning = importlib.util.module_from_spec(spec)
sys.modules["learning_recipes"] = learning  # its dataclass asks for it
spec.loader.exec_module(learning)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, recipe in learning.RECIPES.items() if recipe.bar is not None])
def test_every_seed_reaches_the_bar(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    means = [learning.run(name, seed)["mean"] for seed in range(3)]
    assert min(means) >= learning.RECIPES[name].bar, means


def test_every_recipe_is_a_command_that_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline import cli
    from sightline.rl.runs import act

    asked = []
    monkeypatch.setattr(act, "run_agent", asked.append)
    for name, recipe in learning.RECIPES.items():
        assert cli.main(shlex.split(learning.command(name, 1))[1:]) == 0
        assert asked[-1].run.steps == recipe.steps
        assert asked[-1].run.seed == 1


def test_the_table_says_who_did_not_reach_the_bar() -> None:
    found = {"cartpole": {"0": {"mean": 500.0}, "1": {"mean": 400.0}}, "doorkey": {"0": {"mean": 0.5}}}
    page = learning.table(found)
    assert "| cartpole | 100000 | 0, 1 | 450 +- 70.7 | 400 | 499: **no** |" in page
    assert "| doorkey | 200000 | 0 | 0.5 | 0.5 |  |" in page
    assert page.count("sightline act") == 2
