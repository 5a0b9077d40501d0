"""Redraw what the docs show from what owns it: `python docs/build.py` draws docs/pictures and README's tree of files.

Left out: tables with measured numbers; their commands stand beside them and take longer than a picture may.
"""

import ast
import re
import runpy
from pathlib import Path

from sightline.studies import field_picture

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
TREE = re.compile(r"(?<=<!-- tree: make docs -->\n).*?(?=<!-- end of tree -->)", re.DOTALL)
WIDTH = 140  # characters of a line


def role(path: Path) -> str:
    """The first sentence of a file's docstring, without sources in brackets, as short as a line of the tree."""
    paragraph = str(ast.get_docstring(ast.parse(path.read_text()))).split("\n\n")[0].replace("\n", " ")
    bare = re.sub(r" \([^()]*(?:http|et al|`)[^()]*\)", "", paragraph).replace("`", "")
    sentence = re.split(r"[.?!](?:\s|$)", bare)[0]
    return re.split(r": (?=[A-Z])", sentence)[0]


def tree() -> str:
    """Every file of the package with its role, room by room."""
    lines = ["```", "src/sightline/"]
    for path in sorted((ROOT / "src" / "sightline").rglob("*.py"), key=lambda p: (p.parent != p.parents[1], p)):
        inner = path.relative_to(ROOT / "src" / "sightline")
        if path.name == "__init__.py":
            lines.append(_line(f"  {inner.parent}/" if inner.parent.name else "  __init__.py", role(path)))
        else:
            lines.append(_line(f"  {'  ' * (len(inner.parts) - 1)}{path.name}", role(path)))
    return "\n".join([*lines, "```", ""])


def _line(name: str, what: str) -> str:
    line = f"{name:<28} {what}"
    if len(line) <= WIDTH:
        return line
    return re.split(r"[,;:] (?!.*[,;:] )", line[:WIDTH])[0]  # up to the last clause that fits


def main() -> None:
    """Draw the pictures, write the tree, and print where each lies."""
    readme = ROOT / "README.md"
    readme.write_text(TREE.sub(lambda _: tree(), readme.read_text()))
    print(readme)
    print(field_picture.draw(PICTURES, name="first.png"))
    runpy.run_path(str(PICTURES / "positions.py"), run_name="__main__")


if __name__ == "__main__":
    main()
