"""A misspelt option is answered with the nearest one."""

import pytest

from sightline.ops.arguments import choose


def test_a_known_option_comes_back() -> None:
    assert choose("backend", "torch", ("auto", "torch")) == "torch"
    assert choose("backend", "auto", iter(["auto", "torch"])) == "auto"


def test_the_nearest_is_suggested_and_all_are_listed() -> None:
    with pytest.raises(ValueError, match=r"^unknown backend 'torhc': did you mean 'torch'\? it is one of auto, torch$"):
        choose("backend", "torhc", ("auto", "torch"))


def test_no_suggestion_where_nothing_is_near() -> None:
    with pytest.raises(ValueError, match=r"^unknown backend 'xyz': it is one of auto, torch$"):
        choose("backend", "xyz", ("auto", "torch"))
