"""House rules for every test: memory that a kernel forgot to write is NaN, never a lucky zero; one seed; one thread."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

from sightline.run.denormals import denormals_are_lost


@pytest.fixture(autouse=True)
def _empty_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # only then does PyTorch fill what is uninitialised
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads of small tests wait for each other, ten times longer on a busy machine
    yield
    assert not denormals_are_lost(), "the test left the processor's switch for denormal numbers on, for all after it"


@pytest.fixture
def as_users_run_it() -> Iterator[None]:
    """Switch the shape checks off, as they are outside of tests, so that a layer says its own sentence first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
