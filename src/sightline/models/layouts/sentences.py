"""Why a file does not go into a network, in one sentence that says what to build or to pass.

Left out: deciding whether it does (`models/weights.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sightline.ops.arguments import choose

CLASSIFIER = {
    "vit": ("head.", "head_dist."),
    "resnet": ("fc.",),
    "vgg": ("classifier.6.",),
    "alexnet": ("classifier.6.",),
    "non_local": (),
    "segmenter": ("head.bottleneck.3.", "auxiliary.3."),
}


def few(names: Sequence[str], at_most: int = 4) -> str:
    """The first names, and how many more."""
    shown = ", ".join(names[:at_most])
    return (shown + (f" and {len(names) - at_most} more" if len(names) > at_most else "")) if names else "none"


def needs_refusal(title: str, needs: Mapping[str, Any], built: Mapping[str, Any], accept: Sequence[str]) -> None:
    """Hold what the file's own code computes against how the network was built.

    Raises:
        ValueError: they differ in something not accepted, or something is accepted that the file does not speak of.
    """
    for name in accept:
        choose("argument to accept", name, needs)
    differ = {}
    for name, need in needs.items():
        if name not in built or name in accept:
            continue
        wanted = need.get(built["pairwise"], built[name]) if isinstance(need, dict) else need
        if built[name] not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            differ[name] = (wanted, built[name])
    if differ:
        asked = ", ".join(f"{name}={_one_of(wanted)}" for name, (wanted, _) in differ.items())
        has = ", ".join(f"{name}={value!r}" for name, (_, value) in differ.items())
        passed = ", ".join(f'"{name}"' for name in differ)
        raise ValueError(
            f"{title} was made for {asked} and this network has {has}: build it as the file needs it, or pass"
            f" accept=({passed},) to have another function of the same weights"
        )


def _one_of(wanted: Any) -> str:
    return " or ".join(map(repr, wanted)) if isinstance(wanted, tuple) else repr(wanted)


def refusal(
    title: str,
    kind: str,
    where: str,
    facts: tuple[Mapping[str, Any], Mapping[str, Any]],
    shapes: Mapping[str, tuple[list[int], list[int]]],
    missing: Sequence[str],
    homeless: Sequence[str],
    whole: Sequence[str],
) -> str:
    """The sentence.

    Args:
        title: the file and what it is.
        kind: of its network.
        where: before the names of the part that the file is for.
        facts: what the shapes of the file and of that part say.
        shapes: name in the model -> shape in the file and here, where they differ.
        missing: names in the model for which the file has nothing.
        homeless: names in the file that have no place in the model.
        whole: all names in the model.
    """
    there, here = facts
    lacking = [*shapes, *missing]
    classifier = tuple(where + name for name in CLASSIFIER[kind])
    allow = f"allow_missing=({', '.join(repr(p) for p in patterns(lacking, whole))},)"
    if lacking and not homeless and classifier and all(name.startswith(classifier) for name in lacking):
        classes = f"{there.get('classes', 0)} classes" if shapes else "no such classifier"
        return (
            f"{title} has {classes}, the network's {few(lacking, 2)} are for {here.get('classes', 0)}: pass {allow} to"
            " leave the classifier as it is"
        )
    differ = [
        f"{what} {there[what]} where the network has {here[what]}"
        for what in there
        if what in here and what != "classes" and there[what] != here[what]
    ]
    parts = [f"{title} does not fit: it is of {', '.join(differ)}" if differ else f"{title} does not fit"]
    if shapes:
        parts.append("its " + few([f"{name} is {a} where {b} is needed" for name, (a, b) in shapes.items()], 2))
    if missing:
        parts.append(f"it has nothing for {few(missing)}")
    if homeless:
        parts.append(f"its {few(homeless)} have no place here")
    if 2 * len(lacking) > len(whole):  # hardly anything would be loaded
        return f"{'; '.join(parts)}: build the network as the file needs it"
    advice = [allow] if lacking else []
    advice += [f"allow_left=({', '.join(repr(name) for name in _tops(homeless))},)"] if homeless else []
    build = "build the network as the file needs it, or " if differ or homeless else ""
    return f"{'; '.join(parts)}: {build}pass {' and '.join(advice)} if that may be so"


def patterns(names: Sequence[str], whole: Sequence[str]) -> list[str]:
    """The shortest patterns that cover these names and no others of the whole."""
    wanted, out = set(names), []
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            top = ".".join(parts[:depth]) + "."
            if all(other in wanted for other in whole if other.startswith(top)):
                name = top + "*"
                break
        if name not in out:
            out.append(name)
    return out[:6]


def _tops(names: Sequence[str]) -> list[str]:
    """Patterns by the first part of the names."""
    tops = dict.fromkeys(name.split(".")[0] + ".*" if "." in name else name for name in names)
    return list(tops)[:4]


def told(loaded: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Notes on what went in: its dtype, where it was not the network's."""
    pairs = {(str(t.dtype), str(own[h].dtype)) for h, t in loaded.items() if t.is_floating_point()}
    return [f"{a} in the file, {b} in the network".replace("torch.", "") for a, b in sorted(pairs) if a != b]
