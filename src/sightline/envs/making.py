"""Many environments by name: ours, Gymnasium's, those that a package registers, or any object that makes one.

A name is Gymnasium's ("CartPole-v1", "sightline/Catch-v0", "package:Name-v0" to import the package first) or
`package.module:object`, where the object makes one `gymnasium.Env` from keyword arguments and is registered nowhere.
Ours and those of minigrid and ale_py (where installed) are found without importing anything first.

Ours run as one batch by default, others one after the other in this process, which for small ones is faster than a
process each (docs of `AsyncVectorEnv` say the same). A batched version that Gymnasium has of some (CartPole) is
another environment numerically, and is taken only where it is asked for.

MiniGrid observes a picture, a direction and a sentence; what is made here shows the picture alone (`cells.py`).

Left out: preprocessing of Atari frames other than that of ale_py's own vector environment (`workers="batched"`).
"""

import importlib
import importlib.util
import inspect
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium
from gymnasium import error as errors
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from gymnasium.wrappers import FrameStackObservation

from sightline.envs.cells import Cells
from sightline.envs.serial import Serial
from sightline.ops.arguments import choose
from sightline.run.config import resolve

WORKERS = ("auto", "sync", "async", "batched")
FAMILIES = (  # how a name begins, what has to be imported, what installs it
    (("sightline/",), "sightline.envs", "sightline"),
    (("MiniGrid-", "BabyAI-"), "minigrid", "pip install 'sightline[minigrid]'"),
    (("ALE/",), "ale_py", "pip install ale-py (which is licensed under the GPL)"),
)
BOX2D, MUJOCO = "gymnasium.envs.box2d", "gymnasium.envs.mujoco"
EXTRAS = (  # where the code of an environment lies, what else it needs
    (BOX2D, "pip install 'sightline[box2d]'"),
    (MUJOCO, "pip install 'sightline[mujoco]'"),
)
DRAWN_WITH_PYGAME = (BOX2D, "gymnasium.envs.classic_control", "gymnasium.envs.toy_text")


def make_environments(
    name: str,
    count: int,
    *,
    arguments: Mapping[str, Any] | None = None,
    workers: str = "auto",
    stack: int = 1,
    render_mode: str | None = None,
    autoreset: AutoresetMode | str = AutoresetMode.SAME_STEP,
) -> VectorEnv[Any, Any, Any]:
    """`count` environments as one vector environment.

    Args:
        name: Gymnasium's, or `package.module:object`, whose code is run: only what you trust.
        count: at least 1.
        arguments: of each environment; of a registered one also `max_episode_steps`, in place of the registered limit.
        workers: "sync" one after the other, "async" a process each, "batched" the environment's own vector version;
            "auto" is "batched" for ours that have one where observations are not stacked, and "sync" otherwise.
        stack: show the last so many observations, `[stack, *observation]`, the newest last; an episode begins with
            as many copies of its first.
        render_mode: None, or "rgb_array" for pictures.
        autoreset: when who is over is reset, one of Gymnasium's three modes.

    Raises:
        ValueError: there is no such environment, something is not installed (the sentence says what installs it), an
            argument is none of the environment's, or a worker cannot start.
    """
    choose("workers", workers, WORKERS)
    values = [mode.value for mode in AutoresetMode]
    mode = AutoresetMode(choose("autoreset mode", getattr(autoreset, "value", str(autoreset)), values))
    if count < 1:
        raise ValueError(f"count is at least 1 environment, got {count}")
    if stack < 1:
        raise ValueError(f"stack is at least 1 observation, got {stack}")
    given = dict(arguments) if arguments is not None else {}
    if render_mode is not None:
        given["render_mode"] = render_mode
    spec = _known(name)
    if workers == "auto":
        ours = name.removeprefix("sightline.envs:").startswith("sightline/")
        batched = ours and stack == 1 and spec is not None and spec.vector_entry_point is not None
        workers = "batched" if batched else "sync"
    if workers == "batched":
        if stack > 1:
            raise ValueError(f"batched environments show single observations: for stack={stack} use workers='sync'")
        return _batched(name, count, given, mode)
    one = partial(make_environment, name, given, stack)
    if workers == "sync":
        return Serial([one] * count, autoreset_mode=mode)
    one().close()  # what is wrong with the environment is said here, not by a process
    try:
        return AsyncVectorEnv([one] * count, autoreset_mode=mode)
    except Exception as error:
        raise ValueError(
            f"a process of its own cannot run {name} ({type(error).__name__}: {error}): use workers='sync'"
        ) from error


def make_environment(name: str, arguments: Mapping[str, Any], stack: int = 1) -> gymnasium.Env[Any, Any]:
    """A single one, as `make_environments` makes each of many.

    Raises:
        ValueError: as there.
    """
    spec = _known(name)
    _check_pygame(name, spec, arguments)
    if _code(spec).startswith(BOX2D):
        _import_box2d()
    try:
        _check_render_mode(name, spec, arguments.get("render_mode"))
        maker = resolve(name, trust=True) if spec is None else partial(gymnasium.make, name.rpartition(":")[2])
        with _without_deprecations_of_models(spec):
            made = maker(**arguments)
    except (errors.DependencyNotInstalled, ImportError) as error:
        raise ValueError(f"{name} needs more than is installed: {_installs(spec) or error}") from error
    except (TypeError, AssertionError, errors.Error) as error:
        raise _wrong(name, arguments, error) from error
    if not isinstance(made, gymnasium.Env):
        raise ValueError(f"'{name}' makes one gymnasium.Env, got a {type(made).__name__}")
    if _code(spec).startswith("minigrid.") and isinstance(made.observation_space, gymnasium.spaces.Dict):
        made = Cells(made)
    if stack == 1:
        return made
    if not isinstance(made.observation_space, Box):
        raise ValueError(f"only observations in a Box can be stacked, those of {name} are in {made.observation_space}")
    return FrameStackObservation(made, stack)


def _batched(name: str, count: int, given: dict[str, Any], mode: AutoresetMode) -> VectorEnv[Any, Any, Any]:
    spec = _known(name)
    if spec is None or spec.vector_entry_point is None:
        raise ValueError(f"{name} has no batched version of its own: use workers='sync'")
    try:
        takes = inspect.signature(_load(spec.vector_entry_point)).parameters  # Gymnasium's own know one mode only
        chosen: dict[str, Any] = {"autoreset_mode": mode} if "autoreset_mode" in takes else {}
        envs = gymnasium.make_vec(name.rpartition(":")[2], count, "vector_entry_point", **chosen, **given)
    except (errors.DependencyNotInstalled, ImportError) as error:
        raise ValueError(f"{name} needs more than is installed: {_installs(spec) or error}") from error
    except (TypeError, AssertionError, errors.Error) as error:
        raise _wrong(name, given, error) from error
    made = envs.metadata.get("autoreset_mode")
    if made is not mode:
        envs.close()
        raise ValueError(
            f"the batched version of {name} knows only autoreset '{getattr(made, 'value', made)}', asked for "
            f"'{mode.value}': use workers='sync'"
        )
    return envs


def _known(name: str) -> EnvSpec | None:
    """What is registered under the name; None where it names an object outside of the registry."""
    module, _, rest = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"'{name}' cannot be found: {error}") from error
    for beginnings, package, installed in FAMILIES:
        if rest.startswith(beginnings):
            if importlib.util.find_spec(package) is None:
                raise ValueError(f"{name} needs {package}, which is not installed: {installed}")
            importlib.import_module(package)
    if module and rest not in gymnasium.registry and not re.search(r"-v\d+$|/", rest):
        if not callable(resolve(name, trust=True)):
            raise ValueError(f"'{name}' is nothing that makes an environment when it is called")
        return None
    versions = [
        int(one[len(rest) + 2 :]) for one in gymnasium.registry if re.fullmatch(rf"{re.escape(rest)}-v\d+", one)
    ]
    if not versions or rest in gymnasium.registry:
        choose("environment", rest, sorted(gymnasium.registry))
        return gymnasium.registry[rest]
    return gymnasium.registry[f"{rest}-v{max(versions)}"]  # as `gymnasium.make`, which says so in a warning


def _import_box2d() -> None:
    """Its compiled classes are deprecated in their form: a warning to its makers, and a crash where it is an error."""
    if importlib.util.find_spec("Box2D") is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            importlib.import_module("Box2D")


@contextmanager
def _without_deprecations_of_models(spec: EnvSpec | None) -> Iterator[None]:
    """MuJoCo tells the makers of Gymnasium's models on the screen and in a file of the user's folder."""
    installed = _code(spec).startswith(MUJOCO) and importlib.util.find_spec("mujoco") is not None
    mujoco = importlib.import_module("mujoco") if installed else None
    if mujoco is None or not hasattr(mujoco, "get_mju_user_warning"):
        yield
        return
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None if "deprecated" in text else warnings.warn(text, stacklevel=2))
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _check_pygame(name: str, spec: EnvSpec | None, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError where pictures are wanted that need pygame; Gymnasium says so only when it is to draw.

    SDL, on which pygame stands, would swallow SIGTERM from its first picture on, here and in all processes that are
    forked later; it is asked not to.
    """
    drawn = _code(spec).startswith(DRAWN_WITH_PYGAME) and arguments.get("render_mode") not in (None, "ansi")
    if drawn and importlib.util.find_spec("pygame") is None:
        raise ValueError(f"pictures of {name} need pygame, which is not installed: pip install 'sightline[play]'")
    if drawn:
        os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")


def _check_render_mode(name: str, spec: EnvSpec | None, asked: str | None) -> None:
    """Raise ValueError where Gymnasium would warn and fail later; it shows and collects pictures itself."""
    if spec is None or asked is None or asked == "human":
        return
    metadata = getattr(_load(spec.entry_point), "metadata", None)
    modes = metadata.get("render_modes") if isinstance(metadata, dict) else None
    if modes is not None and asked.removesuffix("_list") not in modes:
        choose(f"render_mode of {name}", asked, modes)


def _load(entry: Any) -> Any:
    """What makes an environment, where only its name is registered."""
    return gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry


def _code(spec: EnvSpec | None) -> str:
    """Where the code of an environment lies, as far as it is named."""
    return spec.entry_point if spec is not None and isinstance(spec.entry_point, str) else ""


def _installs(spec: EnvSpec | None) -> str | None:
    """The command that installs what an environment needs."""
    return next((command for place, command in EXTRAS if _code(spec).startswith(place)), None)


def _wrong(name: str, arguments: Mapping[str, Any], error: Exception) -> ValueError:
    """The sentence about arguments that an environment does not take."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown is not None:
        return ValueError(f"{name} takes no argument '{unknown[1]}', got {dict(arguments)}")
    return ValueError(f"{name} cannot be made with the arguments {dict(arguments)}: {error}")
