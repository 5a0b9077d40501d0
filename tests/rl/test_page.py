"""The page about acting says what is true: its code runs."""

import re
from pathlib import Path

from sightline.rl.transitions import Rollout

PAGE = Path(__file__).parents[2] / "docs" / "acting.md"


def test_the_code_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    rollout = names["rollout"]
    assert isinstance(rollout, Rollout)
    assert rollout.reward.shape == (32, 8)
    assert rollout.terminated.any()
