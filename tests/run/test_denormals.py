"""The switch for denormal numbers is on inside, and as it was before on every way out."""

import pytest
import torch

from sightline.run.denormals import denormals_are_lost, denormals_are_zero


def _half_of_the_smallest() -> float:
    return (torch.full((16,), torch.finfo(torch.float32).tiny) * 0.5).max().item()


def test_on_inside_and_off_after() -> None:
    assert _half_of_the_smallest() > 0
    assert not denormals_are_lost()
    with denormals_are_zero():
        assert _half_of_the_smallest() == 0
        assert denormals_are_lost()
        with denormals_are_zero():
            pass
        assert denormals_are_lost(), "the inner one found it on, and leaves it on"
    assert _half_of_the_smallest() > 0
    assert not denormals_are_lost()


def test_off_after_an_error_and_around_a_function() -> None:
    @denormals_are_zero()
    def broken() -> None:
        assert denormals_are_lost()
        raise ArithmeticError

    for _ in range(2):  # a decorated function opens it anew each time
        with pytest.raises(ArithmeticError):
            broken()
        assert not denormals_are_lost()
