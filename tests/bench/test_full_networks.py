"""The benchmark of full networks: peers and ours are one function, and a wrong one is found before it is timed."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.bench.scripts import load


@pytest.fixture(scope="module")
def full_networks() -> ModuleType:
    return load("full_networks")


@pytest.mark.parametrize("name", ["resnet50", "vit_small", "criss_cross"])
def test_both_are_one_function(full_networks: ModuleType, name: str) -> None:
    full_networks.check(name)


def test_a_peer_that_differs_is_found(full_networks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    right = full_networks.PeerAttention.forward
    monkeypatch.setattr(full_networks.PeerAttention, "forward", lambda self, x: right(self, x) * 1.0001)
    with pytest.raises(AssertionError):
        full_networks.check("vit_small")


def test_a_small_page(full_networks: ModuleType, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        settings = full_networks.Settings(only=("vit_tiny",), batch=1, side=32, repeats=1, out=tmp_path / "page.md")
        full_networks.main(settings)
    finally:
        torch.set_num_threads(threads)
    page = (tmp_path / "page.md").read_text()
    assert page.count("\n| vit_tiny |") == 2
    assert "- command: `" in page
