"""The rules that hold for every test do hold."""

import torch


def test_uninitialised_memory_is_nan() -> None:
    assert torch.empty(5).isnan().all()
    assert torch.empty_like(torch.ones(2, 3, dtype=torch.float64)).isnan().all()
