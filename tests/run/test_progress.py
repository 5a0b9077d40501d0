"""How far, how fast, how long yet: in words that are right."""

import pytest

from sightline.run import progress
from sightline.run.progress import counted, progress_words, time_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185.0, "3 min 05 s"), (7800.0, "2 h 10 min")],
)
def test_times(seconds, words):
    assert time_words(seconds) == words


def test_rate_and_time_left():
    assert progress_words(12, 100, "images", 4.0) == "12 of 100 images, 3.0 a second, 29 s left"
    assert progress_words(1, 3, "images", 120.0) == "1 of 3 images, 0.5 a minute, 4 min 00 s left"
    assert progress_words(3, 3, "images", 0.0).endswith("0 s left")


def test_a_log_has_a_line_now_and_then_and_the_items_come_as_they_are(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    assert list(counted("abc", "letters")) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{n} of 3 letters" for n in (1, 2, 3)]
    monkeypatch.setattr(progress, "EVERY", 10.0)
    assert list(counted([], "letters")) == []
    assert capsys.readouterr().err == ""
