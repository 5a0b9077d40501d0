"""Redraw every picture in docs/pictures from the function that owns it: `python docs/build.py`.

Left out: tables with measured numbers; their commands stand beside them and take longer than a picture may.
"""

import runpy
from pathlib import Path

from sightline.studies import field_picture

PICTURES = Path(__file__).parent / "pictures"


def main() -> None:
    """Draw the pictures and print where each lies."""
    print(field_picture.draw(PICTURES, name="first.png"))
    runpy.run_path(str(PICTURES / "positions.py"), run_name="__main__")


if __name__ == "__main__":
    main()
