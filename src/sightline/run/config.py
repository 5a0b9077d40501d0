"""Objects as names and arguments: what `config.json` holds, and how objects are rebuilt from it.

An object is `{"object": "package.module:name", "arguments": {...}}`, a class or function that is itself an argument is
`{"name": "package.module:name"}`. Importing runs code, so names outside sightline are refused unless trusted.

Left out: pickles, and objects that no importable name and plain arguments describe.
"""

import dataclasses
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CONFIG = "config.json"


def describe(build: Callable[..., Any], /, **arguments: Any) -> dict[str, Any]:
    """The config entry for `build(**arguments)`; the arguments are those of `build` and are checked against it."""
    name = _name(build)
    try:
        inspect.signature(build).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{name} cannot be built from these arguments: {error}") from None
    return {"object": name, "arguments": plain(arguments, name)}


def plain(value: Any, where: str) -> Any:
    """The JSON form: dataclasses as `describe` does, tuples as lists, paths as text, classes and functions as names."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return describe(type(value), **fields)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}, {key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, where) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if inspect.isclass(value) or inspect.isfunction(value):
        return {"name": _name(value)}
    raise ValueError(
        f"a config holds numbers, text, dataclasses and describe(...), got a {type(value).__name__} in {where}"
    )


def _name(build: Callable[..., Any]) -> str:
    name = f"{build.__module__}:{build.__qualname__}"
    if "<" in name or build.__module__ == "__main__":
        raise ValueError(f"'{name}' cannot be found again by its name: define it at the top of an importable module")
    return name


def rebuild(value: Any, trust: bool = False) -> Any:
    """The objects that a JSON form describes; lists come back as tuples."""
    if isinstance(value, list):
        return tuple(rebuild(item, trust) for item in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {"name"}:
        return resolve(value["name"], trust)
    if set(value) == {"object", "arguments"}:
        build, arguments = resolve(value["object"], trust), rebuild(value["arguments"], trust)
        try:
            return build(**arguments)
        except TypeError as error:
            raise ValueError(f"{value['object']} cannot be built from its arguments in {CONFIG}: {error}") from error
    return {key: rebuild(item, trust) for key, item in value.items()}


def resolve(name: str, trust: bool = False) -> Any:
    """The object behind `package.module:object`; outside sightline only when trusted, since importing runs code.

    Raises:
        ValueError: the name has another form, is not trusted, or does not exist.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"an object is named package.module:object, got '{name}'")
    if not trust and module_name.split(".")[0] != "sightline":
        raise ValueError(
            f"'{name}' lies outside sightline and importing it runs its code: pass trust=True if you trust it"
        )
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no '{name}': {error}") from None
    if not trust and not _only_builds(found):
        raise ValueError(f"'{name}' is no class or model of sightline's own: pass trust=True if you trust it")
    return found


def _only_builds(found: Any) -> bool:
    # A stranger's config may build our classes and models. It may not reach `sightline.x:os.system` through a module's
    # imports, nor those functions of ours that run commands or read files.
    home = str(getattr(found, "__module__", "")).split(".")
    return home[0] == "sightline" and (inspect.isclass(found) or home[1:2] == ["models"])


def read_config(folder: str | Path) -> dict[str, Any]:
    """The run's config as it stands in `config.json`: nothing rebuilt, nothing imported."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no run folder: it has no {CONFIG}")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
