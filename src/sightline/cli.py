"""The command `sightline`: names become functions here and nowhere else.

A command is a frozen dataclass of settings, whose documented fields become the options, and a function of it. Both are
imported when the command is called, so that `sightline --help` stays quick. Errors that a user can mend (`ValueError`,
`OSError`) are one sentence on standard error and exit code 2; Ctrl-C is 130.

Left out: commands of rooms that do not stand yet, and shell completion.
"""

import contextlib
import dataclasses
import importlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sightline.ops.arguments import choose

Load = Callable[[], tuple[type, Callable[[Any], None]]]
WIDTH = 18  # of a name in the help


def _study(module: str, kind: str) -> Load:
    """A study's settings and its `run`."""

    def load() -> tuple[type, Callable[[Any], None]]:
        found = importlib.import_module(f"sightline.studies.{module}")
        return getattr(found, kind), found.run

    return load


def _see() -> tuple[type, Callable[[Any], None]]:
    from sightline.seeing.report.command import See, run

    return See, lambda settings: run(settings, networks())


def _train_segment() -> tuple[type, Callable[[Any], None]]:
    from sightline.vision.training.settings import TrainSegment, run_segment

    return TrainSegment, lambda settings: run_segment(with_long_names(settings, segments=True))


def _train_classify() -> tuple[type, Callable[[Any], None]]:
    from sightline.vision.training.settings import TrainClassify, run_classify

    return TrainClassify, lambda settings: run_classify(with_long_names(settings, segments=False))


def _predict() -> tuple[type, Callable[[Any], None]]:
    from sightline.vision.prediction.predict_files import Predict, run

    return Predict, run


def _report() -> tuple[type, Callable[[Any], Any]]:
    from sightline.vision.report.page import Report, run

    return Report, run


def _tensorboard() -> tuple[type, Callable[[Any], Any]]:
    from sightline.run.tensorboard import Events, run

    return Events, run


def _export() -> tuple[type, Callable[[Any], Any]]:
    from sightline.run.config import read_config
    from sightline.vision.prediction.export_run import Export, run

    def leave(settings: Any) -> Any:
        if read_config(settings.run).get("kind") not in ("act", "tabular"):
            return run(settings)
        from sightline.rl.runs.export import export_agent

        if settings.format != "onnx" or settings.normalise or settings.size is not None:
            raise ValueError(
                f"the run in {settings.run} is an agent's, which leaves as ONNX with its normalisation and for its own "
                "observations: leave out --format, --normalise and --size"
            )
        return export_agent(settings.run, settings.out, trust=settings.trust)

    return Export, leave


def _play() -> tuple[type, Callable[[Any], Any]]:
    from sightline.play.command import Play, run

    return Play, run


def _act(kind: str) -> Load:
    """An agent's settings, and what trains any of them."""

    def load() -> tuple[type, Callable[[Any], Any]]:
        from sightline.rl.runs import act, settings

        return getattr(settings, kind), act.run_agent

    return load


def _act_q_learning() -> tuple[type, Callable[[Any], Any]]:
    from sightline.rl.tabular.command import ActQLearning, run_tabular

    return ActQLearning, run_tabular


def _act_dyna() -> tuple[type, Callable[[Any], Any]]:
    from sightline.rl.tabular.command import ActDyna, run_tabular

    return ActDyna, run_tabular


def _bench_ops() -> tuple[type, Callable[[Any], None]]:
    from sightline.bench.operators import Operators, run

    return Operators, run


# A group of commands with a name each, or one command alone.
COMMANDS: Mapping[str, tuple[str, Mapping[str, tuple[str, Load]] | Load]] = {
    "study": (
        "an experiment of the lab, with its page",
        {
            "receptive-field": (
                "how far does a network see, in theory and in effect?",
                _study("receptive_field.study", "ReceptiveField"),
            ),
            "long-range": (
                "who can answer a question whose answer stands anywhere in the image?",
                _study("long_range.study", "LongRange"),
            ),
            "convolution-free": (
                "is a Vision Transformer free of convolutions?",
                _study("convolution_free", "ConvolutionFree"),
            ),
            "recurrence": (
                "what does each pass of criss-cross attention add?",
                _study("recurrence.study", "Recurrence"),
            ),
            "positions": (
                "how does a network come to know where, at sizes it never saw?",
                _study("positions.study", "Positions"),
            ),
            "memory": ("at which image side does each attention stop fitting?", _study("memory", "Memory")),
            "policy-vs-value": (
                "when is a policy the better thing to learn, and what does it cost?",
                _study("policy_vs_value.study", "PolicyVsValue"),
            ),
            "actor-critic": (
                "what do a baseline and a critic do to the policy gradient?",
                _study("actor_critic.study", "ActorCritic"),
            ),
            "gaussian-policy": (
                "what does the scale of a Gaussian policy do, and who sets it?",
                _study("gaussian_policy.study", "GaussianPolicy"),
            ),
            "dyna": ("what does a model of the world buy, and what does it cost?", _study("dyna.study", "DynaStudy")),
            "gaze": ("does an agent act on what it looks at?", _study("gaze.study", "Gaze")),
        },
    ),
    "see": ("what any network can see, does see and looks at, on your image", _see),
    "train": (
        "on your images, or on some that need no download",
        {
            "segment": ("every pixel gets its class", _train_segment),
            "classify": ("every image gets its class", _train_classify),
        },
    ),
    "act": (
        "an agent that learns in an environment",
        {
            "reinforce": ("Monte-Carlo policy gradients, with or without a baseline", _act("ActReinforce")),
            "a2c": ("actor and critic, one gradient per rollout", _act("ActA2C")),
            "ppo": ("proximal policy optimisation: several epochs on every rollout", _act("ActPPO")),
            "q-learning": ("a table of values: Q-learning, SARSA, expected SARSA, n steps", _act_q_learning),
            "dyna": ("a table of values and a memory of what followed what: Dyna-Q, Dyna-Q+, sweeping", _act_dyna),
            "dqn": ("deep Q-learning from a replay: double, duelling, n-step, prioritised", _act("ActDQN")),
            "sac": ("soft actor-critic from a replay: continuous actions, automatic temperature", _act("ActSAC")),
            "deep-dyna": ("SAC or DQN, most of whose steps are dreamed by a learned model", _act("ActDeepDyna")),
        },
    ),
    "play": ("watch a trained agent: what it does, why, and where it looks", _play),
    "predict": ("what a trained run says about images, and why", _predict),
    "report": ("the page of a training run, written again, by other data if asked", _report),
    "tensorboard": ("a run's metrics as TensorBoard's event files", _tensorboard),
    "export": ("a trained network or agent as a file that runs without sightline", _export),
    "bench": (
        "speed and memory against the references, on this machine",
        {"ops": ("time and peak memory of every attention operator, correctness first", _bench_ops)},
    ),
}


HEADS = {
    "linear": "sightline.models.heads:LinearHead",
    "convolution": "sightline.models.heads:ConvolutionHead",
    "pyramid": "sightline.models.pyramid_head:PyramidHead",
    "non-local": "sightline.models.non_local_head:NonLocalHead",
    "rcca": "sightline.models.ccnet:CrissCrossHead",
}
DATA = {
    "shapes": "sightline.vision.built_in.shapes:Shapes",
    "digits": "sightline.vision.built_in.digits:Digits",
    "canvases": "sightline.vision.built_in.canvases:CanvasExamples",
    "frames": "sightline.vision.built_in.frames:Frames",
}


def encoders(segments: bool) -> dict[str, dict[str, Any]]:
    """The encoders that have a short name; for masks a ResNet is dilated, so that its map stays fine."""
    from sightline.models.vit import SIZES

    def entry(name: str, **arguments: Any) -> dict[str, Any]:
        return {"object": f"sightline.models.{name}", "arguments": arguments}

    dilated = {"output_stride": 8} if segments else {}
    resnets = {f"resnet{depth}": entry("resnet:ResNet", depth=depth, **dilated) for depth in (18, 34, 50, 101, 152)}
    found = {**resnets, "non-local-resnet50": entry("non_local_net:NonLocalNet", resnet=resnets["resnet50"], blocks=5)}
    found |= {f"vgg{depth}": entry("vgg:VGG", depth=depth) for depth in (11, 13, 16, 19)}
    for name, size in SIZES.items():
        for patch in (8, 14, 16, 32):
            found[f"vit-{name}-{patch}"] = entry(
                "vit:VisionTransformer", size=entry("vit:Size", **dataclasses.asdict(size)), patch=patch
            )
    return found | {
        "alexnet": entry("convnet:AlexNet"),
        "convnet": entry("convnet:ConvNet"),
        "unet": entry("unet:UNet", growth=2),
    }


def with_long_names(settings: Any, *, segments: bool) -> Any:
    """The settings with every short name spelt out; what holds a colon or a brace is an object already.

    Raises:
        ValueError: an unknown name; the sentence suggests the nearest.
    """
    known: dict[str, Mapping[str, Any]] = {"encoder": encoders(segments), "head": HEADS}
    changes: dict[str, Any] = {}
    for field, names in known.items():
        asked = getattr(settings, field, None)
        if asked is not None and not set(asked) & set(":{"):
            long = names[choose(field, asked, names)]
            changes[field] = long if isinstance(long, str) else json.dumps(long)
    if settings.data in DATA and not os.path.exists(settings.data):
        changes["data"] = DATA[settings.data]
    return dataclasses.replace(settings, **changes)


def networks() -> dict[str, dict[str, Any]]:
    """The networks that `see` knows by a short name: the encoders as they classify, and CCNet as published."""
    published = {"depth": 101, "output_stride": 8, "stem": "deep", "dilate_first": True}
    encoder = {"object": "sightline.models.resnet:ResNet", "arguments": published}
    ccnet = {"object": "sightline.models.ccnet:ccnet", "arguments": {"encoder": encoder, "classes": 19}}
    return {**encoders(segments=False), "ccnet": ccnet}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 2 a mistake said in one sentence, 130 stopped by Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    settings: Any = None
    try:
        found = _find(words)
        if found is not None:
            name, load, rest = found
            kind, run = load()
            settings = _parse(name, kind, rest)
            if settings is not None:
                run(settings)
        sys.stdout.flush()  # here, where a reader that is gone can be met with grace
        return 0
    except KeyboardInterrupt as stopped:
        return _say(str(stopped) or _how_to_go_on(settings), 130)
    except BrokenPipeError:  # the reader of our output, `head` for one, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if os.environ.get("SIGHTLINE_TRACEBACK"):
            traceback.print_exc()
        return _say(_sentence(error), 2)


def _find(words: list[str]) -> tuple[str, Load, list[str]] | None:
    """The command that the first two words name, with the other words; None where help or the version was printed."""
    if not words or words[0] in ("--help", "-h"):
        print(_help())
        return None
    if words[0] == "--version":
        from sightline import __version__

        print(f"sightline {__version__}")
        return None
    group = choose("option" if words[0].startswith("-") else "command", words[0], [*COMMANDS, "--help", "--version"])
    _, members = COMMANDS[group]
    if not isinstance(members, Mapping):
        return f"sightline {group}", members, words[1:]
    if len(words) == 1:
        raise ValueError(f"sightline {group} needs a name: it is one of {', '.join(members)}")
    if words[1] in ("--help", "-h"):
        print(_help(group))
        return None
    if words[1].startswith("-"):
        raise ValueError(f"sightline {group} needs a name before '{words[1]}': it is one of {', '.join(members)}")
    name = choose(f"name for sightline {group}", words[1], members)
    return f"sightline {group} {name}", members[name][1], words[2:]


def _help(only: str | None = None) -> str:
    import sightline

    lines = [str(sightline.__doc__).splitlines()[0], ""] if only is None else []
    for group, (meaning, members) in COMMANDS.items():
        if only not in (None, group):
            continue
        if isinstance(members, Mapping):
            lines += [f"sightline {group} NAME    {meaning}"]
            lines += [f"    {name:<{WIDTH}} {what}" for name, (what, _) in members.items()] + [""]
        else:
            lines += [f"sightline {group:<{WIDTH}} {meaning}", ""]
    return "\n".join([*lines, "Each command explains its options: add --help to it"])


def _parse(name: str, kind: type, words: list[str]) -> Any:
    """The settings that the words spell; None where help was printed.

    Raises:
        ValueError: an option is unknown (the sentence suggests the nearest) or its value does not fit.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: tuple[Any, list[str]] = tyro.cli(kind, prog=name, args=words, return_unknown_args=True)
    except SystemExit as stop:
        if stop.code in (0, None):
            return None
        raise ValueError(_unboxed(complaint.getvalue(), name)) from None
    settings, unknown = parsed
    sys.stderr.write(complaint.getvalue())
    options = [f"--{name.replace('_', '-').rstrip('-')}" for name in _field_names(settings)]
    for word in unknown:
        if word.startswith("-"):
            choose(f"option for {name}", word.partition("=")[0], options)
    if unknown:
        raise ValueError(f"{name} does not know what to do with '{' '.join(unknown)}': see {name} --help")
    return settings


def _field_names(settings: Any) -> list[str]:
    """The names of all fields; those of a part that is settings itself stand beside the others."""
    names: list[str] = []
    for field in dataclasses.fields(settings):
        part = getattr(settings, field.name)
        names += _field_names(part) if dataclasses.is_dataclass(part) else [field.name]
    return names


def _unboxed(complaint: str, name: str) -> str:
    # tyro draws its complaints in boxes: a title, what is wrong (broken to fit), a rule, and help. Where the terminal
    # has no lines to draw with, the title stands above a rule of its own.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", complaint)
    parts: list[list[str]] = [[]]
    for row in (row.strip("│| \t") for row in plain.splitlines()):
        if row and set(row) <= set("─-"):
            parts.append([])
        elif row and row[0] not in "╭╰":
            parts[-1].append(row)
    said = " ".join(parts[0] if "╭" in plain or len(parts) == 1 else parts[1])
    return f"{said.rstrip('.')}: see {name} --help"


def _sentence(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__


def _how_to_go_on(settings: Any) -> str:
    settings = getattr(settings, "run", settings)  # of agents, whose settings stand in parts
    if hasattr(settings, "resume") and hasattr(settings, "out"):
        return f"stopped; what was done is kept in {settings.out}, and the same command with --resume goes on"
    return "stopped"


def _say(sentence: str, code: int) -> int:
    sys.stdout.flush()
    print(f"sightline: {sentence}", file=sys.stderr)
    return code
