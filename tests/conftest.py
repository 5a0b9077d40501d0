"""One house rule for every test: memory that a kernel forgot to write is NaN, never a lucky zero."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _empty_is_nan() -> None:
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.manual_seed(0)
