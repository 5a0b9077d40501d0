"""How the parts of a report are made: each may fail for itself, and bars show how far they are.

Left out: the parts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sightline.seeing.report.contents import Missing

T = TypeVar("T")
Done = Callable[[int], object]  # told how many more are ready
Start = Callable[[str, int | None], Done]  # told what begins, and how many there will be


def attempt(what: str, make: Callable[[], T]) -> T | Missing:
    """The part, or a sentence that says why it is not there."""
    try:
        return make()
    except Exception as error:  # a network may raise anything, and the rest of the page is still wanted
        words = " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
        return Missing(f"{what} could not be made: {words}.")


@contextmanager
def progress() -> Iterator[Start]:
    """Bars on the terminal, on standard error, gone when all is done; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def start(what: str, total: int | None) -> Done:
            bar = bars.add_task(what, total=total)
            return lambda count: bars.advance(bar, count)

        yield start
