"""The house stands: rooms import downwards only, imports are absolute, files stay short, no room for odds and ends."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
HOUSE = ROOT / "src" / "sightline"
FLOORS = {
    "run": 0, "ops": 0,
    "layers": 1, "envs": 1,
    "models": 2, "planning": 2,
    "seeing": 3, "vision": 3, "rl": 3, "bench": 3,
    "play": 4,
    "studies": 5,
    "cli": 6, "__main__": 7,
}  # fmt: skip
BANNED = {"utils", "util", "common", "core", "base", "helpers", "misc"}
FILES = sorted(HOUSE.rglob("*.py"))
EVERY = sorted(
    p for folder in ("src", "tests", "benchmarks", "docs", "examples") for p in (ROOT / folder).rglob("*.py")
)


def room(path: pathlib.Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "sightline"
                else {str(node.module)}
            )
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_rooms_import_only_from_floors_below(path: pathlib.Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in FLOORS, f"{here} is no room of the house"
    for name in imported(path):
        if name.startswith("sightline.") and name != "sightline.__version__":
            there = name.split(".")[1]
            assert there == here or FLOORS[there] < FLOORS[here], f"{path.name} (floor {FLOORS[here]}) imports {name}"


@pytest.mark.parametrize("path", EVERY, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_idea(path: pathlib.Path) -> None:
    assert path.read_text().count("\n") <= 400, f"{path} is longer than 400 lines"
    assert not BANNED & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_file_says_what_it_is(path: pathlib.Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} opens without a docstring"
    assert "torchvision" not in imported(path)
    assert "timm" not in imported(path)
