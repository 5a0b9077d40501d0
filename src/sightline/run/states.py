"""Every random state of a process, and state dicts without pickle: nested JSON beside a flat table of tensors.

Inside the JSON, `{"$tensor": name}` points into the table, `{"$tuple": [...]}` is a tuple and `{"$pairs": [[k, v]]}` a
dictionary whose keys are not all plain text (an optimiser's are integers).

Left out: objects with behaviour; what a state dict cannot say in containers, numbers, text and tensors is refused.
"""

import random
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

RandomState: TypeAlias = torch.Generator | np.random.Generator | random.Random


def encode(value: Any, tensors: dict[str, Tensor], where: str) -> Any:
    """The JSON form of `value`; its tensors are added to the table under names that begin with `where`.

    Raises:
        ValueError: something inside is no container, number, text or tensor.
    """
    if isinstance(value, Tensor):
        while where in tensors:  # {"a.b": ...} and {"a": {"b": ...}}, or the keys 1 and "1", spell one name
            where += "'"
        tensors[where] = on_cpu(value)
        # Safetensors forgets strides, and a kernel may round otherwise along another order of memory.
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        last = value.dim() in formats and not value.is_contiguous()
        return {"$tensor": where, "channels_last": last and value.is_contiguous(memory_format=formats[value.dim()])}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: encode(item, tensors, f"{where}.{key}") for key, item in value.items()}
        return {"$pairs": [[encode(k, tensors, where), encode(v, tensors, f"{where}.{k}")] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [encode(item, tensors, f"{where}.{i}") for i, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, np.ndarray):
        return {"$array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a checkpoint holds tensors, numbers and text, got a {type(value).__name__} at {where}")


def decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `encode`."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        tensor = tensors[value["$tensor"]]
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return tensor.to(memory_format=formats[tensor.dim()]) if value["channels_last"] else tensor
    if "$tuple" in value:
        return tuple(decode(item, tensors) for item in value["$tuple"])
    if "$pairs" in value:
        return {decode(k, tensors): decode(v, tensors) for k, v in value["$pairs"]}
    if "$array" in value:
        return np.array(value["$array"], dtype=value["dtype"])
    return {key: decode(item, tensors) for key, item in value.items()}


def on_cpu(tensor: Tensor) -> Tensor:
    """A contiguous copy of its own: tied weights share memory, which safetensors refuses."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def get_global_random() -> dict[str, Any]:
    """The states of Python's, NumPy's and PyTorch's global generators, on every CUDA device in use."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_global_random(state: dict[str, Any]) -> None:
    """Put them back; a CUDA device that is not here is left out, since its run cannot go on here exactly anyway."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, device)


def get_random(generator: RandomState) -> Any:
    """The state of one generator object."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return generator.getstate() if isinstance(generator, random.Random) else generator.bit_generator.state


def set_random(generator: RandomState, state: Any) -> None:
    """Put it back."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state
