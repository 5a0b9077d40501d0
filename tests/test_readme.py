"""README stays true: its code runs, its tree is the real tree, its links lead somewhere, its commands exist."""

import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


BUILD = runpy.run_path(str(ROOT / "docs" / "build.py"))


@pytest.mark.parametrize(("page", "what"), BUILD["WRITTEN"])
def test_what_is_written_by_a_program_is_up_to_date(page: str, what: str) -> None:
    stands = BUILD["between"](what).search((ROOT / page).read_text())
    assert stands is not None
    assert stands.group() == BUILD["WRITTEN"][page, what](), "run `make docs`"


def test_the_code_does_what_its_comments_say() -> None:
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(code, names)
    fields = names["fields"]
    assert fields.layers["layer4.2"].size == (427, 427)
    assert fields.set("layer1.0", (28, 28)).sum() == 361
    torch.testing.assert_close(names["y"], names["x"])
    assert names["where"].shape == (2, 97, 97)
    field, criss_cross, window = names["field"], names["criss_cross"], names["window"]
    assert field([criss_cross], (40, 7), (97, 97)).sum() == 193
    assert field([criss_cross, criss_cross], (40, 7), (97, 97)).all()
    assert field([window(3)] * 8, (40, 7), (97, 97)).sum() == 16 * 17


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_make_knows_the_commands() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in re.findall(r"make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert command in targets
