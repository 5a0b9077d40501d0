"""What every learner counts and keeps beside its own: how fast its steps come, and its parts by name in a saved state.

Left out: what the parts are.
"""

import time
from collections.abc import Mapping
from typing import Any


class Pace:
    """Steps a second since it was last asked."""

    def __init__(self) -> None:
        self.restart(0)

    def restart(self, steps: int) -> None:
        """Begin to count here."""
        self._since, self._clock = steps, time.perf_counter()

    def rate(self, steps: int) -> float:
        """Of the steps up to these."""
        since, clock = self._since, self._clock
        self.restart(steps)
        return (steps - since) / max(self._clock - clock, 1e-9)


def load_parts(parts: Mapping[str, Any], state: Mapping[str, Any], besides: set[str]) -> None:
    """Put every part's saved state back.

    Args:
        parts: by name.
        state: of them all.
        besides: names in it that are no parts.

    Raises:
        ValueError: the state has other parts, or is of other environments.
    """
    saved = set(state) - besides
    if saved != set(parts):
        told, here = (", ".join(sorted(names)) for names in (saved, parts))
        raise ValueError(f"the saved agent keeps {told}, this one {here}: normalise as it did")
    for name, part in parts.items():
        part.load_state_dict(state[name])
