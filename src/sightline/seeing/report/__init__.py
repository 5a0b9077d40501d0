"""One page that says what a network can see, does see and looks at, on the user's own image.

`see(network, image, folder)` writes it; `sightline see MODEL --image PHOTO --out DIR` is the same by command.
"""

from sightline.seeing.report.command import See, run, see

__all__ = ["See", "run", "see"]
