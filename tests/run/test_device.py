"""Seeds, devices, and the Ctrl-C that waits for the end of a step."""

import random
import signal
import threading

import numpy as np
import pytest
import torch

from sightline.run import (
    choose_device,
    seed_everything,
    stop_on_interrupt,
)


def test_seed_everything_seeds_all_three() -> None:
    seed_everything(3)
    first = (random.random(), np.random.rand(), torch.rand(1).item())
    seed_everything(3)
    assert first == (random.random(), np.random.rand(), torch.rand(1).item())
    with pytest.raises(ValueError, match="a seed is 0 or more, got -1"):
        seed_everything(-1)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="unknown device 'gpu': it is one of auto, cpu, cuda"):
        choose_device("gpu")
    with pytest.raises(
        ValueError, match=r"float8_e4m3fn was asked for on cpu, which cannot train in it .*: use float32"
    ):
        choose_device("cpu", torch.float8_e4m3fn)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    with pytest.raises(ValueError, match="'cuda' was asked for, but PyTorch sees 0 CUDA devices: use cpu or auto"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    with pytest.raises(ValueError, match=r"bfloat16 was asked for on cuda, .*capability 8 or newer"):
        choose_device("auto", torch.bfloat16)


def test_the_first_interrupt_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_on_interrupt() as stop:  # noqa: PT012
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_gets_a_flag_that_stays_down() -> None:
    seen = []

    def work() -> None:
        with stop_on_interrupt() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
