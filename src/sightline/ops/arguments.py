"""Bad input said in one sentence: an unknown option names the nearest one that exists."""

import difflib
from collections.abc import Iterable


def choose(what: str, asked: str, options: Iterable[str]) -> str:
    """Return `asked` if it is one of the options.

    Raises:
        ValueError: it is not; the sentence suggests the nearest option and lists all.
    """
    known = list(options)
    if asked in known:
        return asked
    near = difflib.get_close_matches(str(asked), known, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ValueError(f"unknown {what} '{asked}': {hint}it is one of {', '.join(known)}")
