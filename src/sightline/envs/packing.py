"""A graph of Python objects as lists, numbers and text, and back: the plain data that an environment keeps.

`None`, booleans, numbers and text stand for themselves; everything else is a list that begins with a word: `["list",
...]`, `["array", dtype, shape, order, base64]`, `["object", "module:Class", [[name, value], ...]]`. What is held twice
is packed once (`["ref", number]`), so that two names of one list are two names of one list afterwards too, and a view
stays a view. Objects are rebuilt from their attributes, and only of classes of the packages that the environment itself
is made of, which are never imported here: a file cannot name code to run. Constants (spaces, functions, classes) are
not packed but compared with those of the environment that takes the state, whose own stay.

Left out: what is kept outside of attributes (variables of a module, of a class or of a function's closure, which
belong to the process), memory that an array shares with something that is no array, and the order in which a set is
walked.
"""

import base64
import enum
import logging
import random
import re
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any, TypeAlias

import numpy as np
from gymnasium import Space
from gymnasium.envs.registration import EnvSpec

Form: TypeAlias = Any  # None, a boolean, number or text, or a list that begins with a word

PLAIN = (NoneType, bool, int, float, str)
PICTURES = ("pygame.Surface", "pygame.surface", "pygame.time", "pygame.font", "gymnasium.envs.mujoco.mujoco_rendering")
CONSTRAINTS = ("efc_", "efm_", "iefc_")  # how many MuJoCo has differs from step to step, and each step finds them anew


@dataclass(frozen=True)
class Layers:
    """The objects whose attributes are packed, outermost first, and what has been seen on the way."""

    objects: list[Any]
    numbers: dict[int, int]  # which of them an object is, by its id
    packages: set[str]  # what they are made of, Python's own packages aside
    seen: dict[int, tuple[int, Any]] = field(default_factory=dict)  # the object too, or its id would be given again
    built: list[Any] = field(default_factory=list)
    later: list[Callable[[], Any]] = field(default_factory=list)  # what changes objects in place, once all is well


class _Plain:
    pass


def layers_of(objects: list[Any]) -> Layers:
    """Nothing seen yet."""
    packages = {kind.__module__.split(".")[0] for one in objects for kind in type(one).__mro__}
    return Layers(objects, {id(one): i for i, one in enumerate(objects)}, packages - sys.stdlib_module_names)


def pack(value: Any, layers: Layers, where: str) -> Form:
    """Its form.

    Raises:
        ValueError: something inside is no plain data and no constant; the sentence says where.
    """
    if type(value) in PLAIN:
        return value
    if type(value) is tuple:
        return ["tuple", *_each(value, layers, where)]
    if id(value) in layers.numbers:
        return ["layer", layers.numbers[id(value)]]
    if id(value) in layers.seen:
        return ["ref", layers.seen[id(value)][0]]
    if type(value) in (list, dict):  # the most frequent first: tables of moves have thousands
        return _pack_mutable(value, layers, where)
    if isinstance(value, np.generic) and value.dtype.kind not in "OV":
        return ["scalar", value.dtype.str, _text(value)]
    if isinstance(value, enum.Enum):
        return ["enum", _name(type(value), layers, where), value.name]
    if isinstance(value, Space):
        return ["space", describe(value), [pack(one._np_random, layers, where) for one in _within(value)]]
    module = _module(value)
    if isinstance(value, EnvSpec | logging.Logger) or module.startswith(PICTURES):
        return ["left"]
    if module.startswith("mujoco."):
        return _pack_mujoco(value, where)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return ["named", _name(type(value), layers, where), *_each(value, layers, where)]
    if type(value) is bytes:
        return ["bytes", base64.b64encode(value).decode()]
    if _is_constant(value, layers):
        return ["same", describe(value)]
    return _pack_mutable(value, layers, where)


def _pack_mutable(value: Any, layers: Layers, where: str) -> Form:
    kind = type(value)
    layers.seen[id(value)] = (len(layers.seen), value)
    if kind is np.ndarray and value.dtype.kind not in "OV":
        base = value.base
        if type(base) is np.ndarray and (base.flags.c_contiguous or base.flags.f_contiguous):
            first = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            kept = pack(base, layers, where)
            return ["view", kept, value.dtype.str, first, list(value.shape), list(value.strides)]
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        return ["array", value.dtype.str, list(value.shape), order, _text(value.T if order == "F" else value)]
    if kind in (list, set, frozenset):
        return [kind.__name__, *_each(value, layers, where)]
    if kind is deque:
        return ["deque", value.maxlen, *_each(value, layers, where)]
    if kind in (dict, OrderedDict, defaultdict):
        factory = [pack(value.default_factory, layers, where)] if kind is defaultdict else []
        pairs = []
        for k, v in value.items():
            name = k if type(k) in PLAIN else pack(k, layers, where)
            pairs.append([name, v if type(v) in PLAIN else pack(v, layers, f"{where}[{k!r}]")])
        return [kind.__name__, *factory, pairs]
    if kind is np.random.Generator:
        source = value.bit_generator.seed_seq  # generators that are spawned later come from it
        spawned = source.state if isinstance(source, np.random.SeedSequence) else None
        return ["generator", pack(value.bit_generator.state, layers, where), pack(spawned, layers, where)]
    if kind is np.random.RandomState:
        return ["random_state", pack(value.get_state(legacy=False), layers, where)]
    if kind is random.Random:
        return ["random", pack(value.getstate(), layers, where)]
    if hasattr(value, "__dict__") and _keeps_attributes_only(kind):
        name = _name(kind, layers, where)
        return ["object", name, [[key, pack(item, layers, f"{where}.{key}")] for key, item in vars(value).items()]]
    raise ValueError(f"{where} is a {_module(value)} {kind.__name__}, which is neither plain data nor a constant")


def unpack(form: Form, layers: Layers, here: Any, where: str) -> Any:
    """What it was packed from; `here` is what the environment that takes the state has in its place.

    Raises:
        ValueError: a constant is another one here, or a class is none of the environment's packages.
    """
    if not isinstance(form, list):
        return form
    word, *rest = form
    if word == "layer":
        return layers.objects[rest[0]]
    if word == "ref":
        return layers.built[rest[0]]
    if word == "scalar":
        return np.frombuffer(base64.b64decode(rest[1]), dtype=rest[0])[0]
    if word == "enum":
        return _class(rest[0], layers, where)[rest[1]]
    if word == "left":
        return here
    if word in ("same", "space"):
        if describe(here) != rest[0]:
            raise ValueError(f"{where} was {rest[0]} in the saved environment, here it is {describe(here)}")
        if word == "space":
            states = [unpack(one, layers, None, where) for one in rest[1]]
            layers.later.extend(partial(setattr, *one) for one in zip(_within(here), repeat("_np_random"), states))
        return here
    if word == "mujoco":
        layers.later.append(lambda: _set_mujoco(here, *rest))
        return here
    if word == "tuple":
        return tuple(_all(rest, layers, here, where))
    if word == "named":
        return tuple.__new__(_class(rest[0], layers, where), _all(rest[1:], layers, here, where))
    if word == "bytes":
        return base64.b64decode(rest[0])
    return _unpack_mutable(word, rest, layers, here, where)


def _unpack_mutable(word: str, rest: list[Any], layers: Layers, here: Any, where: str) -> Any:
    index = len(layers.built)
    layers.built.append(None)
    made: Any
    if word == "array":
        kind, shape, order, text = rest
        flat = np.frombuffer(base64.b64decode(text), dtype=kind).copy()
        made = flat.reshape(shape, order=order)
    elif word == "view":
        base = unpack(rest[0], layers, None, where)
        made = np.ndarray(tuple(rest[3]), rest[1], base.ravel(order="K"), rest[2], tuple(rest[4]))
    elif word == "frozenset":
        made = frozenset(_all(rest, layers, None, where))
    elif word == "generator":
        state, spawned = (unpack(one, layers, None, where) for one in rest)
        source = None if spawned is None else np.random.SeedSequence(**spawned)
        bits = getattr(np.random, state["bit_generator"], None)
        if not (isinstance(bits, type) and issubclass(bits, np.random.BitGenerator)):
            raise ValueError(
                f"{where} of the saved environment draws from a {state['bit_generator']}, unknown to NumPy"
            )
        made = np.random.Generator(bits(source))
        made.bit_generator.state = state
    elif word in ("random_state", "random"):
        made = np.random.RandomState() if word == "random_state" else random.Random()
        state = unpack(rest[0], layers, None, where)
        made.set_state(state) if word == "random_state" else made.setstate(state)
    elif word in ("list", "set", "deque"):
        made = {"list": list, "set": set, "deque": deque}[word]() if word != "deque" else deque(maxlen=rest.pop(0))
        layers.built[index] = made
        for item in _all(rest, layers, here if word != "set" else None, where):
            made.add(item) if word == "set" else made.append(item)
    elif word in ("dict", "OrderedDict", "defaultdict"):
        made = {"dict": dict, "OrderedDict": OrderedDict, "defaultdict": defaultdict}[word]()
        layers.built[index] = made
        if word == "defaultdict":
            made.default_factory = unpack(rest.pop(0), layers, getattr(here, "default_factory", None), where)
        for key, item in rest[0]:
            name = unpack(key, layers, None, where) if isinstance(key, list) else key
            there = here.get(name) if isinstance(here, dict) else None
            made[name] = unpack(item, layers, there, f"{where}[{name!r}]") if isinstance(item, list) else item
    elif word == "object":
        made = object.__new__(_class(rest[0], layers, where))
        layers.built[index] = made
        attributes = getattr(here, "__dict__", {})
        for key, item in rest[1]:
            vars(made)[key] = unpack(item, layers, attributes.get(key), f"{where}.{key}")
    else:
        raise ValueError(f"{where} of the saved environment begins with {word!r}, which this version does not know")
    layers.built[index] = made
    return made


def describe(constant: Any) -> str:
    """What two equal constants have in common, in any process."""
    if isinstance(constant, partial):
        return f"partial of {describe(constant.func)} with {constant.args} and {constant.keywords}"
    if hasattr(constant, "__qualname__"):
        return f"{getattr(constant, '__module__', None)}:{constant.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(constant))


def _is_constant(value: Any, layers: Layers) -> bool:
    """Whether nothing that it does depends on anything that changes, as far as can be seen."""
    if isinstance(value, partial):
        return _is_constant(value.func, layers) and all(
            type(one) in PLAIN or _is_constant(one, layers) for one in (*value.args, *value.keywords.values())
        )
    if isinstance(value, BuiltinFunctionType | MethodType):
        owner = value.__self__
        return owner is None or isinstance(owner, ModuleType | type) or id(owner) in layers.numbers
    if isinstance(value, FunctionType):
        kept = []
        for cell in value.__closure__ or ():
            try:
                kept.append(cell.cell_contents)
            except ValueError:  # not yet filled
                return False
        unchanging = (*PLAIN, Space)
        return all(isinstance(k, unchanging) or id(k) in layers.numbers or _is_constant(k, layers) for k in kept)
    return isinstance(value, type | ModuleType | np.ufunc | np.dtype | PurePath | slice | range)


def _keeps_attributes_only(kind: type) -> bool:
    """Whether its objects hold nothing in slots or in compiled code."""
    slots = {name for one in kind.__mro__ for name in vars(one).get("__slots__", ())} - {"__dict__", "__weakref__"}
    return not slots and kind.__basicsize__ <= _Plain.__basicsize__


def _module(value: Any) -> str:
    """The module of its class; classes that SWIG made have none."""
    return str(getattr(type(value), "__module__", "compiled"))


def _text(array: np.ndarray | np.generic) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _each(values: Any, layers: Layers, where: str) -> list[Form]:
    return [item if type(item) in PLAIN else pack(item, layers, f"{where}[{i}]") for i, item in enumerate(values)]


def _all(forms: list[Form], layers: Layers, here: Any, where: str) -> Iterator[Any]:
    ours = list(here) if isinstance(here, tuple | list | deque) else []
    for i, form in enumerate(forms):
        there = ours[i] if i < len(ours) else None
        yield unpack(form, layers, there, f"{where}[{i}]") if isinstance(form, list) else form


def _within(space: Space[Any]) -> Iterator[Space[Any]]:
    """A space and those it is made of."""
    yield space
    for part in vars(space).values():
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, tuple | list) else [part]
        for one in parts:
            if isinstance(one, Space):
                yield from _within(one)


def _name(kind: type, layers: Layers, where: str) -> str:
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        found = _class(name, layers, where)
    except ValueError:
        found = None
    if found is not kind:
        rule = "neither plain data nor of a class that its own package names"
        raise ValueError(f"{where} is a {kind.__module__} {kind.__qualname__}, {rule}")
    return name


def _class(name: str, layers: Layers, where: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module) if module.split(".")[0] in layers.packages else None
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise ValueError(f"{where} of the saved environment is a {name}, which belongs to no package of this one")
    return found


def _pack_mujoco(value: Any, where: str) -> Form:
    """The state of a simulation, and what the last step derived from it, which rewards are differences to."""
    import mujoco

    if isinstance(value, mujoco.MjModel):
        return ["left"]
    if not isinstance(value, mujoco.MjData):
        raise ValueError(f"{where} is a {_module(value)} {type(value).__name__}, which is no plain data")
    every = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(value.model, every))
    mujoco.mj_getState(value.model, value, state, every)
    derived = {}
    for name in dir(value):
        array = None if name.startswith(("_", *CONSTRAINTS)) else getattr(value, name)
        if isinstance(array, np.ndarray) and array.size:
            derived[name] = [array.dtype.str, list(array.shape), _text(array)]
    return ["mujoco", _text(state), derived]


def _set_mujoco(value: Any, state: str, derived: dict[str, Any]) -> None:
    import mujoco

    every = mujoco.mjtState.mjSTATE_INTEGRATION
    for name, (kind, shape, text) in derived.items():
        array = getattr(value, name)
        if list(array.shape) == shape and array.dtype.str == kind:  # else it is another step's own, found anew
            array[...] = np.frombuffer(base64.b64decode(text), dtype=kind).reshape(shape)
    mujoco.mj_setState(value.model, value, np.frombuffer(base64.b64decode(state)), every)
