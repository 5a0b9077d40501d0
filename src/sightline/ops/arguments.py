"""Bad input said in one sentence: an unknown option names the nearest one that exists."""

import difflib
from collections.abc import Iterable

LISTED = 1000  # characters of a list that a reader may still want to read


def choose(what: str, asked: str, options: Iterable[str]) -> str:
    """Return `asked` if it is one of the options.

    Raises:
        ValueError: it is not; the sentence suggests the nearest option and lists all, or, of very many, the first.
    """
    known = list(options)
    if asked in known:
        return asked
    near = difflib.get_close_matches(str(asked), known, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    listed = ", ".join(one for one in known if one)
    if len(listed) > LISTED:
        raise ValueError(f"unknown {what} '{asked}': {hint}among them are {listed[:LISTED]} ...")
    raise ValueError(f"unknown {what} '{asked}': {hint}it is one of {listed}")
