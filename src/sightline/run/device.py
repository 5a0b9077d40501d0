"""Seeds of every global random generator, and the device that a run computes on.

Left out: deterministic kernels on CUDA (`torch.use_deterministic_algorithms`), which are the caller's choice.
"""

import random

import numpy as np
import torch
from torch import nn


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (all devices)."""
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, got {seed}")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def choose_device(asked: str = "auto", dtype: torch.dtype = torch.float32) -> torch.device:
    """The device for "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".

    Raises:
        ValueError: the device is unknown or not here, or cannot train in `dtype`.
    """
    kind, _, number = asked.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (":" in asked and not (kind == "cuda" and number.isdigit())):
        raise ValueError(f"unknown device '{asked}': it is one of auto, cpu, cuda, or cuda:0 and so on")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= count:
        raise ValueError(f"the device '{asked}' was asked for, but PyTorch sees {count} CUDA devices: use cpu or auto")
    device = torch.device(asked if kind != "auto" else "cuda" if count else "cpu")
    reason = _cannot_train(device, dtype)
    if reason is not None:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(f"{name} was asked for on {device}, which cannot train in it ({reason}): use float32")
    return device


def _cannot_train(device: torch.device, dtype: torch.dtype) -> str | None:
    # CUDA devices before Ampere emulate bfloat16: it runs, slower than float32, so the trial below would not find out.
    if device.type == "cuda" and dtype == torch.bfloat16 and torch.cuda.get_device_capability(device)[0] < 8:
        return "bfloat16 needs a CUDA device of capability 8 or newer"
    try:  # a trial of what every network does: no table of what which device can would stay right
        with torch.enable_grad():
            image = torch.ones(1, 1, 3, 3, device=device, dtype=dtype).requires_grad_()
            nn.functional.conv2d(image, torch.ones(1, 1, 3, 3, device=device, dtype=dtype)).sum().backward()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None
