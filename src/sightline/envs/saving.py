"""The state of a batch of environments as containers, numbers and arrays, and back: for exact resume.

Everything that the future depends on is in it: the environment's state, each one's random generator and seed, the
steps of its episode, and whether that is over. A checkpoint (`run/checkpoint.py`) holds it as it is.

Left out: wrappers around the environment, whose states are their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from sightline.envs.environment import Environment

SAVED = ("state", "random", "seeds", "steps", "over")


def save(
    state: Any,
    generators: Sequence[np.random.Generator],
    seeds: Sequence[int | None],
    steps: Int[np.ndarray, " b"],
    over: Bool[np.ndarray, " b"],
) -> dict[str, Any]:
    """Everything that the future of a batch depends on, as copies.

    Raises:
        ValueError: nothing has begun yet.
    """
    if state is None:
        raise ValueError("there is no state to save before the first reset: call reset first")
    return {
        "state": {field.name: getattr(state, field.name).copy() for field in fields(state)},
        "random": [generator.bit_generator.state for generator in generators],
        "seeds": list(seeds),
        "steps": steps.copy(),
        "over": over.copy(),
    }


def restore(
    environment: Environment[Any], saved: Mapping[str, Any], b: int
) -> tuple[Any, list[np.random.Generator], list[int | None], np.ndarray, np.ndarray]:
    """State, generators, seeds, steps and who is over, from what `save` returned.

    Raises:
        ValueError: it was saved from an environment with other options, or from fewer or more of them.
    """
    if sorted(saved) != sorted(SAVED):
        raise ValueError(
            f"a saved environment holds {', '.join(SAVED)}, got {', '.join(str(name) for name in saved) or 'nothing'}"
        )
    model, _ = environment.reset(np.random.default_rng(0), b)  # only its form is used
    names = [field.name for field in fields(model)]
    if sorted(saved["state"]) != sorted(names):
        raise ValueError(
            f"{type(environment).__name__} saves {', '.join(names)}, got {', '.join(saved['state'])}: "
            "the state belongs to another environment"
        )
    arrays = {}
    for name in names:
        form, array = getattr(model, name), np.array(saved["state"][name])
        if array.shape != form.shape or array.dtype != form.dtype:
            raise ValueError(
                f"{name} of {b} environments is {form.dtype} of shape {form.shape}, the saved one is {array.dtype} of "
                f"shape {array.shape}: the state was saved with other options or another number of environments"
            )
        arrays[name] = array
    generators = []
    for random in saved["random"]:
        generators.append(np.random.Generator(np.random.PCG64()))
        generators[-1].bit_generator.state = random
    return replace(model, **arrays), generators, list(saved["seeds"]), np.array(saved["steps"]), np.array(saved["over"])
