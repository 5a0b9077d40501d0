"""House rules for every test: memory that a kernel forgot to write is NaN, never a lucky zero; one seed; one thread."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _empty_is_nan() -> None:
    torch.use_deterministic_algorithms(True)  # only then does PyTorch fill what is uninitialised
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads of small tests wait for each other, ten times longer on a busy machine
