"""From what a user writes to objects: data sets, and networks of an encoder and a head with fitting widths.

An object is named `package.module:object`, or with arguments as the config has it: `{"object": "package.module:object",
"arguments": {...}}`, also as a text. Widths, numbers of classes and image sizes are filled in here, so that any encoder
goes under any head.

Left out: short names; the command knows them.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sightline.models.encoder import map_widths
from sightline.models.heads import Classifier, ConvolutionHead
from sightline.models.segmenter import Segmenter
from sightline.run.config import describe, rebuild, resolve
from sightline.vision.data.examples import Examples

Entry = Mapping[str, Any]


def entry_of(named: str | Entry, what: str) -> dict[str, Any]:
    """The config entry of an object that is named by a text or an entry; `what` it is, for the message.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(named, str) and named.lstrip().startswith("{"):
        try:
            read: Entry = json.loads(named)
        except ValueError as error:
            raise ValueError(f"the {what} is no JSON: {error}") from None
        return entry_of(read, what)
    entry: dict[str, Any] = {"object": named} if isinstance(named, str) else dict(named)
    if set(entry) - {"arguments"} != {"object"} or not isinstance(entry.get("arguments", {}), Mapping):
        raise ValueError(
            f'the {what} is named package.module:object, or {{"object": ..., "arguments": {{...}}}}, got {named}'
        )
    return {"object": entry["object"], "arguments": dict(entry.get("arguments", {}))}


def open_data(
    data: str | Entry,
    split: str,
    *,
    task: str,
    layout: str = "auto",
    classes: tuple[str, ...] = (),
    ignore: int = 255,
    trust: bool = False,
) -> Examples:
    """One part of a data set: a folder's, or an object's, which is asked for `split=` if it takes it.

    Raises:
        ValueError: it is not there, or is for another task.
    """
    if isinstance(data, Mapping) or data.lstrip().startswith("{") or (":" in data and not Path(data).exists()):
        entry = entry_of(data, "data")
        build = resolve(entry["object"], trust)
        if "split" in inspect.signature(build).parameters:
            entry["arguments"]["split"] = split
        elif split != "train":
            raise ValueError(f"{entry['object']} takes no split=, so there is nothing to evaluate on: give --val ''")
        examples = rebuild(entry, trust)
        if getattr(examples, "task", None) != task:
            kind = getattr(examples, "task", "do something else")
            raise ValueError(f"{entry['object']} is data to {kind}, and it was asked for to {task}")
        return examples
    from sightline.vision.data.folders import open_examples

    return open_examples(data, split, task=task, layout=layout, classes=classes or None, ignore=ignore)


def build_network(
    task: str,
    encoder: str | Entry,
    head: str | Entry | None,
    classes: int,
    *,
    size: tuple[int, int],
    image_channels: int = 3,
    auxiliary: bool | None = None,
    align_corners: bool = False,
    drop_path: float = 0.0,
    trust: bool = False,
) -> tuple[dict[str, Any], nn.Module]:
    """A network, and the config entry from which it is built again.

    Args:
        task: "segment" (an encoder, a head and perhaps an auxiliary one) or "classify" (an encoder and a class head).
        encoder: Built with `image_size=size`, `image_channels=` and `drop_path=` where it takes them and they are not
            given.
        head: Built with `channels=` and `classes=`; None to classify.
        classes: How many.
        size: Height and width of the images in training.
        image_channels: Of the images.
        auxiliary: Whether a second head stands on the stage before the last; None: where there is such a stage.
        align_corners: As in `Segmenter`.
        drop_path: Probability of leaving out a branch of the last block; 0 for none.
        trust: Whether objects from outside of sightline may be imported.

    Raises:
        ValueError: an object is not there, not trusted or does not take its arguments; the encoder has no stage for the
            auxiliary head, or no paths to drop; the size does not fit the encoder.
    """
    entry = entry_of(encoder, "encoder")
    body, build = _built_encoder(entry, size, image_channels, drop_path, trust)
    if task == "classify":
        if head is not None:
            raise ValueError("a classifier has a class head of its own: leave out the head")
        return describe(Classifier, encoder=entry, classes=classes), Classifier(body, classes)
    if head is None:
        raise ValueError("a network that segments needs a head (--head)")
    head_entry = entry_of(head, "head")
    arguments = {"channels": body.channels, "classes": classes, **head_entry["arguments"]}
    head_entry = {"object": head_entry["object"], "arguments": arguments}
    widths = map_widths(body, image_channels)
    if auxiliary and len(widths) < 2:
        raise ValueError(
            f"an auxiliary head stands on the stage before the last, and {build} has one map alone: leave it out"
            " (--auxiliary 0), or give the encoder a method `maps`"
        )
    with_auxiliary = len(widths) > 1 if auxiliary is None else auxiliary
    second = describe(ConvolutionHead, channels=widths[-2], classes=classes) if with_auxiliary else None
    top = rebuild(head_entry, trust)
    network = Segmenter(body, top, auxiliary=rebuild(second), align_corners=align_corners)
    described = describe(Segmenter, encoder=entry, head=head_entry, auxiliary=second, align_corners=align_corners)
    return described, network


def _built_encoder(
    entry: dict[str, Any], size: tuple[int, int], image_channels: int, drop_path: float, trust: bool
) -> tuple[Any, str]:
    """The encoder; what was filled in is in the entry afterwards."""
    build: Callable[..., Any] = resolve(entry["object"], trust)
    takes = inspect.signature(build).parameters
    fill: dict[str, Any] = {"image_size": list(size)}
    if image_channels != 3:
        fill["image_channels"] = image_channels
    if drop_path > 0:
        if "drop_path" not in takes:
            raise ValueError(f"{entry['object']} has no paths to drop: leave out --drop-path")
        fill["drop_path"] = drop_path
    entry["arguments"] = {**{key: value for key, value in fill.items() if key in takes}, **entry["arguments"]}
    body = rebuild(entry, trust)
    if not hasattr(body, "channels") or not hasattr(body, "stride"):
        raise ValueError(
            f"{entry['object']} is no encoder: it has no `channels` and `stride` (sightline.models.check says more)"
        )
    return body, entry["object"]
