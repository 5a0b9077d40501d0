"""Save and restore environments exactly, whoever wrote them, so that an interrupted run goes on as if it never stopped.

Walks from the outermost wrapper to the environment itself and packs what each keeps in its attributes (`packing.py`):
the steps that a time limit counted, the observations of a stack, the simulated state, every random generator, that of
a space too. There is no list of environments that are known: one whose attributes are plain data, objects of its own
package made of plain data, or MuJoCo's can be saved; any other cannot, and is told which attribute prevents it. An
environment that has `get_state()` and `set_state(state)` is asked instead, as ours are.

    state = save_environments(envs)                 # plain containers: `run.save_checkpoint(extra=state)` takes it
    restore_environments(freshly_made_envs, state)

Left out: environments in processes of their own, whose wish to be reset is a variable of the process; how to draw
(`render_mode`, windows), which is the new environment's own.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper

from sightline.envs.packing import PLAIN, Form, Layers, describe, layers_of, pack, unpack

MADE = {"render_mode", "_saved_kwargs"}  # how it was made: no state
LONG = 200  # characters of a value that is written once where many environments hold the same, as tables of moves
KEYS = ("layers", "values", "long")


def cannot_save(envs: VectorEnv[Any, Any, Any]) -> str | None:
    """None where `save_environments` can; else one sentence that says which environment and what it lacks."""
    return _reason(envs)


def save_environments(envs: VectorEnv[Any, Any, Any]) -> dict[str, Any]:
    """Everything that their future depends on, as copies, in containers, numbers and text.

    Raises:
        ValueError: they cannot be saved, in the sentence of `cannot_save`; or ours were never reset.
    """
    return _save(envs)


def restore_environments(envs: VectorEnv[Any, Any, Any], state: Mapping[str, Any]) -> None:
    """Put it back, into environments that were made with the same options.

    Raises:
        ValueError: they are other environments than those that were saved; they stay as they were.
    """
    _restore(envs, state)


def save_environment(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """As `save_environments`, of a single one in its wrappers."""
    return _save(env)


def restore_environment(env: gymnasium.Env[Any, Any], state: Mapping[str, Any]) -> None:
    """As `restore_environments`, of a single one in its wrappers."""
    _restore(env, state)


def _layers(env: Any) -> list[Any]:
    """The wrappers and what is inside them, outermost first; of a vector, one environment after the other."""
    chain = [env]
    while isinstance(chain[-1], gymnasium.Wrapper | VectorWrapper):
        chain.append(chain[-1].env)
    if isinstance(chain[-1], SyncVectorEnv):
        for one in chain[-1].envs:
            chain += _layers(one)
    return chain


def _answers(layer: Any) -> bool:
    """Whether it has `get_state()` and `set_state(state)`."""
    for name, count in (("get_state", 0), ("set_state", 1)):
        method = getattr(type(layer), name, None)
        if not callable(method):
            return False
        needed = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty]
        if len(needed) != 1 + count:  # and itself
            return False
    return True


def _attributes(layer: Any) -> dict[str, Any]:
    """What is packed of it: all, or, of one that answers for itself, only its spaces."""
    made = MADE | {"env_fns"} if isinstance(layer, SyncVectorEnv) else MADE
    found = {k: v for k, v in vars(layer).items() if k not in made and not k.startswith("__")}
    if _answers(layer):
        return {k: v for k, v in found.items() if isinstance(v, gymnasium.Space)}
    return found


def _identity(layers: Layers) -> list[list[Any]]:
    """What must be the same where the state is put back: the classes, how many, and their options."""
    rows = []
    for layer in layers.objects:
        options: dict[str, Any] = {}
        if isinstance(layer, VectorEnv):
            mode = getattr(layer, "autoreset_mode", None) or layer.metadata.get("autoreset_mode")
            options = {"num_envs": layer.num_envs, "autoreset_mode": getattr(mode, "value", mode)}
        if isinstance(layer, RecordConstructorArgs):
            options |= {k: v for k, v in layer._saved_kwargs.items() if k != "env"}
        elif isinstance(layer, gymnasium.Env) and not isinstance(layer, gymnasium.Wrapper) and layer.spec is not None:
            options |= {k: v for k, v in layer.spec.kwargs.items() if k != "render_mode"}
        if _answers(layer) and hasattr(layer, "environment"):  # ours: its fields are its options
            options |= {"environment": repr(layer.environment), "max_episode_steps": layer.max_episode_steps}
        said = {}
        for name, value in options.items():
            try:
                space = isinstance(value, gymnasium.Space)  # the same, whatever was drawn from it since
                said[name] = describe(value) if space else pack(value, layers_of(layers.objects), name)
            except ValueError:  # an option that cannot be written cannot be compared
                continue
        rows.append([f"{type(layer).__module__}:{type(layer).__qualname__}", said])
    return rows


def _reason(env: Any) -> str | None:
    try:
        _pack(layers_of(_layers(env)), ask=False)
    except ValueError as error:
        return str(error)
    return None


def _pack(layers: Layers, ask: bool) -> list[dict[str, Form]]:
    values = []
    for layer in layers.objects:
        name = type(layer).__name__
        if isinstance(layer, AsyncVectorEnv):
            raise ValueError(
                "environments in processes of their own (AsyncVectorEnv) cannot be saved: make them in this process, "
                "with workers='sync'"
            )
        packed = {}
        for key, value in _attributes(layer).items():
            try:
                packed[key] = value if type(value) in PLAIN else pack(value, layers, key)
            except ValueError as error:
                raise ValueError(
                    f"{name} cannot be saved: its attribute {error}; methods get_state() and set_state(state) of its "
                    "own would make it savable"
                ) from error
        asked = ask and _answers(layer)
        values.append({"attributes": packed, "state": pack(layer.get_state(), layers, name) if asked else None})
    return values


def _save(env: Any) -> dict[str, Any]:
    layers = layers_of(_layers(env))
    values = _pack(layers, ask=True)
    long: list[Form] = []
    places: dict[str, int] = {}
    for row in values:
        for name, form in row["attributes"].items():
            text = json.dumps(form) if isinstance(form, list) else ""
            if len(text) > LONG:
                if text not in places:
                    places[text] = len(long)
                    long.append(form)
                row["attributes"][name] = ["long", places[text]]
    return {"layers": _identity(layers), "values": values, "long": long}


def _restore(env: Any, state: Mapping[str, Any]) -> None:
    if not isinstance(state, Mapping) or sorted(state) != sorted(KEYS):
        raise ValueError(f"a saved environment holds {', '.join(KEYS)}, got {', '.join(map(str, state)) or 'nothing'}")
    layers = layers_of(_layers(env))
    _compare(state["layers"], _identity(layers))
    found = []
    for layer, row in zip(layers.objects, state["values"], strict=True):
        attributes, packed = {}, row["attributes"]
        for name, form in packed.items():
            attributes[name] = form
            if isinstance(form, list):
                full = state["long"][form[1]] if form[0] == "long" else form
                attributes[name] = unpack(full, layers, vars(layer).get(name), name)
        own = unpack(row["state"], layers, None, type(layer).__name__)
        found.append((layer, attributes, own))
    for layer, attributes, own in found:
        for name in _attributes(layer).keys() - attributes.keys():
            del vars(layer)[name]
        vars(layer).update(attributes)
        if own is not None:
            layer.set_state(own)
    for change in layers.later:
        change()


def _compare(saved: Sequence[Any], here: Sequence[Any]) -> None:
    """Raise ValueError where they differ."""
    was, now = ([row[0].rpartition(":")[2] for row in rows] for rows in (saved, here))
    if [row[0] for row in saved] != [row[0] for row in here]:
        raise ValueError(f"the state is of other environments: it was saved from {_said(was)}, these are {_said(now)}")
    for (_, before), (name, after) in zip(saved, here, strict=True):
        for option in sorted(before.keys() | after.keys()):
            if json.dumps(before.get(option)) != json.dumps(after.get(option)):
                raise ValueError(
                    f"the state is of other environments: {name.rpartition(':')[2]} was saved with {option} "
                    f"{_value(before.get(option))}, here it has {_value(after.get(option))}"
                )


def _said(names: Sequence[str]) -> str:
    """Every class with how often it comes, in the order of the chain."""
    return ", ".join(f"{names.count(one)} {one}" for one in dict.fromkeys(names))


def _value(form: Form) -> str:
    """A form for people."""
    return repr(form) if not isinstance(form, list) else " ".join(str(part) for part in form[1:])
