"""The table against CCNet's figures: its forms are right, and the paper's FLOPs come out of PyTorch's counter."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.bench.scripts import load


@pytest.fixture(scope="module")
def ccnet_table() -> ModuleType:
    return load("ccnet_table")


def test_every_form_is_right(ccnet_table: ModuleType) -> None:
    ccnet_table.check()


def test_a_wrong_form_is_found(ccnet_table: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ccnet_table.ATTENTION["SDPA"][1]
    monkeypatch.setitem(ccnet_table.ATTENTION, "SDPA", ("non-local", lambda q, k, v: right(q, k, v) * 1.0001))
    with pytest.raises(AssertionError):
        ccnet_table.check()


def test_the_papers_flops_come_out(ccnet_table: ModuleType) -> None:
    non_local = ccnet_table.gigaflops("naive", 1, 512, 97)
    two_passes = ccnet_table.gigaflops("plain", 2, 512, 97)
    assert abs(non_local - ccnet_table.PAPER["naive", 1][0]) < 0.5
    assert abs(two_passes - ccnet_table.PAPER["plain", 2][0]) < 0.05
    assert round(100 * (1 - two_passes / non_local)) == 85
    # By hand: three convolutions, then scores and sums over the keys; twice per multiply and add.
    n, keys = 97 * 97, 97 * 97
    by_hand = 2 * n * (512 * (64 + 64 + 512) + keys * (64 + 512))
    assert non_local == by_hand / 1e9
    assert two_passes == 2 * 2 * n * (512 * (64 + 64 + 512) + (97 + 97) * (64 + 512)) / 1e9
    # The fused kernel multiplies the zeros that make its widths equal.
    assert ccnet_table.gigaflops("SDPA", 1, 512, 97) == 2 * n * (512 * (64 + 64 + 512) + keys * (512 + 512)) / 1e9


def test_a_small_page(ccnet_table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccnet_table, "peak_memory", lambda *_arguments, **_named: 2**20)
    settings = ccnet_table.Settings(channels=16, size=5, repeats=2, out=tmp_path / "page.md")
    threads = torch.get_num_threads()
    try:
        ccnet_table.main(settings)
    finally:
        torch.set_num_threads(threads)
    page = (tmp_path / "page.md").read_text()
    assert page.count("\n| ") == 10, "a heading and nine rows"
    assert "FLOPs reproduce" in page
    assert "- command: `" in page
