"""Published weights into the networks here: `load_published(model, file)`.

The layout of the file is told by its names (`layouts/`), tensors are renamed and converted, the table of positions is
resized by the rule of the code it comes from, and the report says what matched, what was converted and what was left,
on either side. Nothing is left in silence, and whatever is refused is refused before the network is touched.

Left out: downloads, and building a network for a file (`describe_published` says what the file needs).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline.layers.non_local import NonLocal
from sightline.layers.positions import SinCosPositions
from sightline.models.convnet import AlexNet
from sightline.models.layouts import ccnet, dinov2, hugging_face, non_local, plain, resnet, timm_vit, torchvision_vit
from sightline.models.layouts.draft import Translation
from sightline.models.layouts.facts import built_with, facts_of
from sightline.models.layouts.sentences import few, needs_refusal, refusal, told
from sightline.models.layouts.tables import RULES, TOKENS, fit_table, tell_grid
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.models.vgg import VGG
from sightline.models.vit import VisionTransformer
from sightline.models.weight_files import Tensors, read_tensors
from sightline.ops.arguments import choose

KINDS: dict[str, type[nn.Module]] = {
    "vit": VisionTransformer,
    "resnet": ResNet,
    "vgg": VGG,
    "alexnet": AlexNet,
    "non_local": NonLocal,
    "segmenter": Segmenter,
}
UNUSED = {  # what a network may well not have: classifiers, the head for training, and how many batches a norm saw
    "vit": ("head.*", "head_dist.*"),
    "resnet": ("fc.*", "*.num_batches_tracked"),
    "vgg": ("classifier.*", "*.num_batches_tracked"),
    "alexnet": ("classifier.*",),
    "non_local": ("*.num_batches_tracked",),
    "segmenter": ("auxiliary.*", "*.num_batches_tracked", "encoder.fc.*"),
}
FIXED = 1e-5  # how far a published sin-cos table may be from the exact one: it was computed in single precision


@dataclass(frozen=True)
class Layout:
    """One way in which weights are published: how it is told, and how it is read."""

    recognises: Callable[[Mapping[str, Tensor]], bool]
    translate: Callable[[Mapping[str, Tensor]], Translation]


LAYOUTS = {  # told in this order: the first that recognises the names
    "mmsegmentation_ccnet": Layout(ccnet.is_mmsegmentation_ccnet, ccnet.from_mmsegmentation_ccnet),
    "ccnet": Layout(ccnet.is_ccnet, ccnet.from_ccnet),
    "hugging_face_vit": Layout(hugging_face.is_hugging_face_vit, hugging_face.from_hugging_face),
    "hugging_face_resnet": Layout(resnet.is_hugging_face_resnet, resnet.from_hugging_face_resnet),
    "torchvision_vit": Layout(torchvision_vit.is_torchvision_vit, torchvision_vit.from_torchvision_vit),
    "dinov2": Layout(dinov2.is_dinov2, dinov2.from_dinov2),
    "mae": Layout(timm_vit.is_mae, timm_vit.from_mae),
    "deit": Layout(timm_vit.is_deit_three, timm_vit.from_deit),
    "timm": Layout(timm_vit.is_timm_vit, timm_vit.from_timm),
    "mmcv_non_local": Layout(non_local.is_mmcv_non_local, non_local.from_mmcv_non_local),
    "alexhex7_non_local": Layout(non_local.is_alexhex7_non_local, non_local.from_alexhex7_non_local),
    "alexnet": Layout(plain.is_alexnet, plain.from_alexnet),
    "vgg": Layout(plain.is_vgg, plain.from_vgg),
    "resnet": Layout(resnet.is_resnet, resnet.from_resnet),
}
TIMM_NAMES = ("timm", "deit", "mae", "dinov2")  # of one set of names: asked for, each reads the others' files


@dataclass(frozen=True)
class Report:
    """What became of every tensor of the file and of the network; names are those of `model.state_dict()`."""

    layout: str  # what the file is
    matched: tuple[str, ...]  # names whose tensors went in number for number
    converted: dict[str, str]  # name -> what was done to its numbers or its shape on the way
    left_in_file: dict[str, str]  # name in the file -> why it has no place
    left_in_model: tuple[str, ...]  # names that kept what they had
    notes: tuple[str, ...] = ()  # what was unwrapped, and what the weights cannot say

    def __str__(self) -> str:
        """The report in lines."""
        lines = [f"layout: {self.layout}", f"matched: {len(self.matched)} tensors, number for number"]
        for what, names in _grouped(self.converted).items():
            lines.append(f"converted: {few(names, 2)}: {what}")
        for why, names in _grouped(self.left_in_file).items():
            lines.append(f"left in the file: {few(names)}: {why}")
        lines.append(f"left in the model: {few(list(self.left_in_model))}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class Description:
    """What a file is and needs, told without a network."""

    layout: str  # in words
    kind: str  # "vit", "resnet", "vgg", "alexnet", "non_local" or "segmenter"
    facts: dict[str, Any]  # what names and shapes say: width, blocks, patch, classes, ...
    needs: dict[str, Any]  # with which arguments its network must be built, although no weight shows them


def describe_published(file: str | Path | Mapping[str, Any], *, layout: str = "auto", prefix: str = "") -> Description:
    """Tell the layout of a file, and what its names and shapes say; arguments as in `load_published`."""
    translation = _translate(_part(read_tensors(file), prefix), layout)
    facts = facts_of(translation.kind, translation.state)
    return Description(translation.layout, translation.kind, facts, dict(translation.needs))


def load_published(
    model: nn.Module,
    file: str | Path | Mapping[str, Any],
    *,
    layout: str = "auto",
    prefix: str = "",
    grid: tuple[int, int] | None = None,
    allow_missing: Sequence[str] = (),
    allow_left: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> Report:
    """Put a published file of weights into a network, or refuse it whole.

    An encoder's file goes into the one encoder of its kind that is found in the model, itself or a part of it: a
    ResNet's into `ResNet`, `NonLocalNet` or a `Segmenter` on either. The rest of the model is then to be allowed.

    Args:
        model: the network; changed in place, in its own dtype and on its own device.
        file: a .safetensors, .pth or .bin file, a folder of Hugging Face's, or a state dict.
        layout: "auto", or one of `LAYOUTS`: which of the families that share names, and so how tables are resized.
        prefix: only names that begin so are read, without it; for one part of a larger network.
        grid: (h, w) of the file's table of positions, in patches, where it is not square.
        allow_missing: patterns such as "head.*" of names in `model.state_dict()` that may keep what they have,
            because the file lacks them or has them in another shape.
        allow_left: patterns of names in the file that need no place here.
        accept: arguments in which the network may differ from the file's own code, such as "norm_eps": it then
            computes something else.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: anything does not fit; one sentence says what to build or to pass. The model is untouched.
    """
    read = _part(read_tensors(file), prefix)
    translation = _translate(read, layout)
    title = f"{read.name} ({translation.layout})"
    where, target = _target(model, translation.kind, title)
    needs_refusal(title, translation.needs, built_with(target), accept)
    state, converted, notes = dict(translation.state), dict(translation.converted), list(translation.notes)
    own = target.state_dict()
    left = dict(translation.left)
    if isinstance(target, VisionTransformer):
        left |= _fit_vit(target, own, translation, grid, state, converted, notes)

    def allowed(here: str) -> bool:
        return any(fnmatchcase(where + here, pattern) for pattern in allow_missing)

    unplaced = {here: _why_unplaced(here, translation, allow_left) for here in state if here not in own}
    wrong = {here for here in state if here in own and state[here].shape != own[here].shape}
    kept = {here for here in wrong if allowed(here)}
    loaded = {here: t for here, t in state.items() if here in own and here not in wrong}
    whole = model.state_dict()
    missing = [
        name
        for name in whole
        if not (name.startswith(where) and name.removeprefix(where) in loaded | dict.fromkeys(wrong - kept))
        and not name.endswith("num_batches_tracked")
        and not any(fnmatchcase(name, pattern) for pattern in allow_missing)
    ]
    homeless = [here for here, why in unplaced.items() if not why]
    if wrong - kept or missing or homeless:
        facts = facts_of(translation.kind, translation.state), facts_of(translation.kind, own)
        shapes = {where + h: (list(state[h].shape), list(own[h].shape)) for h in sorted(wrong - kept)}
        places = [few(list(translation.sources.get(here) or (here,)), 1) for here in homeless]
        raise ValueError(refusal(title, translation.kind, where, facts, shapes, missing, places, list(whole)))
    _check_values(title, loaded, own)
    notes += told(loaded, own)
    with torch.no_grad():
        for here, tensor in loaded.items():
            own[here].copy_(tensor)  # a view of the network's own: dtype and device stay
    left |= {name: why for here, why in unplaced.items() for name in translation.sources[here] or (here,)}
    left |= {name: "of another shape here" for here in sorted(kept) for name in translation.sources[here]}
    return Report(
        translation.layout,
        tuple(where + here for here in loaded if here not in converted),
        {where + here: what for here, what in converted.items() if here in loaded},
        left,
        tuple(n for n in whole if not (n.startswith(where) and n.removeprefix(where) in loaded)),
        (*read.notes, *notes),
    )


def _part(read: Tensors, prefix: str) -> Tensors:
    """The names that begin with a prefix, without it."""
    if not prefix:
        return read
    state = {name.removeprefix(prefix): t for name, t in read.state.items() if name.startswith(prefix)}
    if not state:
        raise ValueError(f"no name in {read.name} begins with '{prefix}': the first are {few(list(read.state))}")
    others = len(read.state) - len(state)
    note = f"{others} tensors whose names do not begin with '{prefix}' were passed over"
    return Tensors(read.name, state, read.nest, (*read.notes, *([note] if others else [])), read.config)


def _translate(read: Tensors, layout: str) -> Translation:
    """The file under the names here, by the layout asked for or the one that its names tell."""
    choose("layout", layout, ("auto", *LAYOUTS))
    found = next((name for name, one in LAYOUTS.items() if one.recognises(read.state)), None)
    if found == "timm" and "model" in read.nest:
        found = "deit"  # the same names; only these files wrap them so
    if found is None:
        raise ValueError(
            f"{read.name} has the names of no layout known here, they begin {few(list(read.state))}: it is one of"
            f" {', '.join(LAYOUTS)}"
        )
    if layout not in ("auto", found) and not (layout in TIMM_NAMES and found in TIMM_NAMES):
        raise ValueError(f"{read.name} was asked for as '{layout}', its names are those of '{found}': pass that one")
    asked = found if layout == "auto" else layout
    if asked == "hugging_face_vit":
        return hugging_face.from_hugging_face(read.state, read.config)
    return LAYOUTS[asked].translate(read.state)


def _target(model: nn.Module, kind: str, title: str) -> tuple[str, nn.Module]:
    """The one part of the model that the file is for, and the prefix of its names."""
    wanted = KINDS[kind]
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, wanted)]
    if len(found) == 1:
        name, module = found[0]
        return (f"{name}." if name else ""), module
    if found:
        names = few([name or "the model itself" for name, _ in found])
        raise ValueError(f"{title} fits one {wanted.__name__}, this model has {len(found)} ({names}): pass one of them")
    raise ValueError(f"{title} is for a {wanted.__name__}, {type(model).__name__} is none and has none: build one")


def _fit_vit(
    target: VisionTransformer,
    own: Mapping[str, Tensor],
    translation: Translation,
    grid: tuple[int, int] | None,
    state: dict[str, Tensor],
    converted: dict[str, str],
    notes: list[str],
) -> dict[str, str]:
    """Fit the table of positions, in place in `state`; return what of the file the network makes itself."""
    if "heads" not in translation.needs:
        notes.append(f"no weight shows the number of heads: the network has {built_with(target)['heads']}")
    if isinstance(target.fixed, SinCosPositions) and "pos_embed" in state:
        rows, there = tell_grid(state["pos_embed"].shape[1], translation.prefix_rows, grid, target.grid)
        same = target.fixed.table(there, target.channels, dtype=torch.float64)
        same = torch.cat([same.new_zeros(1, rows, target.channels), same], 1)
        if same.shape == state["pos_embed"].shape and (same - state["pos_embed"].cpu()).abs().max() < FIXED:
            (name,) = translation.sources["pos_embed"]
            del state["pos_embed"]
            return {name: "the network makes the same table itself, and another for other sizes"}
    if "pos_embed" in state and "pos_embed" in own and state["pos_embed"].shape[-1] == own["pos_embed"].shape[-1]:
        counts = {name: own[name].shape[1] for name in TOKENS if name in own}
        tables, done = fit_table(translation, own["pos_embed"], target.grid, grid=grid, counts_here=counts)
        state |= tables
        converted |= done
        if target.table_resize != translation.resize:
            notes.append(
                f"at other image sizes the network resizes its table by '{target.table_resize}', the file's own code is"
                f" {RULES[translation.resize]}"
            )
    return {}


def _why_unplaced(here: str, translation: Translation, allow_left: Sequence[str]) -> str:
    """Why it is no loss that a tensor has no place; empty if it is one."""
    names = (here, *translation.sources.get(here, ()))
    if any(fnmatchcase(name, pattern) for name in names for pattern in allow_left):
        return "allowed"
    if any(fnmatchcase(here, pattern) for pattern in UNUSED[translation.kind]):
        return "the network has no such part"
    return ""


def _check_values(title: str, loaded: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse what would go in but cannot be weights."""
    for here, tensor in loaded.items():
        if own[here].is_meta:
            raise ValueError("the model lies on the meta device and holds no numbers: build it on a real one")
        if own[here].is_floating_point() and not tensor.is_floating_point():
            raise ValueError(f"{title} holds {here} as {tensor.dtype}: quantised weights do not load, take the others")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{title} holds numbers in {here} that are not finite: the file is broken, take another")


def _grouped(entries: Mapping[str, str]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for name, what in entries.items():
        out.setdefault(what, []).append(name)
    return out
