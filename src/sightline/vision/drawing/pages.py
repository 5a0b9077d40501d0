"""A page is one self-contained file: a template, the house's style (light, dark, phone and desk) and no network.

Every page of the house is filled in here, so that all escape what they are given and look alike: `page.css` holds what
they share, a page's own style comes after it.

Left out: what any page says, and its charts (`svg_charts.py`).
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

SHARED = Path(__file__).with_name("page.css")


def fill_in(template: Path, values: Mapping[str, Any], *, style: Path, script: Path | None = None) -> str:
    """The page: `values` by name, escaped unless they are Markup; then `style` after the shared one, and `script`.

    Raises:
        jinja2.UndefinedError: the template asks for a value that was not given.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    css = SHARED.read_text(encoding="utf-8") + style.read_text(encoding="utf-8")
    code = "" if script is None else script.read_text(encoding="utf-8")
    return environment.get_template(template.name).render({**values, "style": Markup(css), "script": Markup(code)})


def picture_uri(png: bytes, kind: str = "image/png") -> str:
    """A picture as an address that holds all of it, so that the page needs no other file."""
    return f"data:{kind};base64," + base64.b64encode(png).decode()
