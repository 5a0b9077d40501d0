"""What tests of saved environments share: a state's way through a checkpoint's file, and equality to the last bit."""

import json
from typing import Any

import numpy as np

from sightline.run.states import decode, encode


def through_a_file(state: Any) -> Any:
    tensors: dict[str, Any] = {}
    text = json.dumps(encode(state, tensors, "state"))
    return decode(json.loads(text), tensors)


def identical(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and one.dtype != object:
        return (
            type(other) is np.ndarray
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and (one.tobytes() == other.tobytes())
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple | np.ndarray):
        return len(one) == len(other) and all(identical(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and one == other
