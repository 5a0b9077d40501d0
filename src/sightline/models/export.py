"""Networks leave: as an ONNX file, or as a program of `torch.export`, for images of any number and any size.

What leaves runs without this library. While a network is exported its attention takes a form made of PyTorch's own
operators (`ops/criss_cross.py`, `ops/non_local.py`), and one graph serves every size. Nothing is believed: the file is
opened again, in onnxruntime or in PyTorch, run at several sizes and numbers of images other than those it was made
from, and compared with the network; only then does it take its name.

A program refuses a size that it does not serve. An ONNX file cannot refuse one: its metadata says which it serves.

Left out: half precision and quantisation, gradients, and opsets older than PyTorch's exporter writes.
"""

import contextlib
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sightline.layers.modes import evaluated
from sightline.models.trace import AXES, Shape, Sizes, Traced, first_line, title, trace
from sightline.run.files import said

NOTHING: Mapping[str, str] = MappingProxyType({})
EXTRA = "sightline.json"  # where a program keeps its metadata


@dataclass(frozen=True)
class Exported:
    """What was written and how it was checked."""

    file: Path
    sizes: Sizes
    checked: tuple[Shape, ...]  # images, height, width
    difference: float  # the largest from the network, over the largest entry of its answer

    def __str__(self) -> str:
        shapes = ", ".join(f"{b} x {h} x {w}" for b, h, w in self.checked)
        return (
            f"{self.file}: images {self.sizes}, any number; "
            f"checked at {shapes}: equal to the network to {self.difference:.0e}"
        )


def export_onnx(
    network: nn.Module,
    file: str | Path,
    *,
    size: tuple[int, int],
    image_channels: int = 3,
    metadata: Mapping[str, str] = NOTHING,
    tolerance: float = 1e-4,
) -> Exported:
    """Write an ONNX file: input `image` `[batch, c, height, width]`, all three sizes free, output `logits`.

    Args:
        network: images in, one tensor out, float32; it is exported in evaluation mode and put back. A `Normalised` one
            takes uint8.
        file: where to; a file above two gigabytes has its weights beside it, as `FILE.data`.
        size: a height and width that the network serves; others are found by trying.
        image_channels: channels of the images.
        metadata: texts that go into the file, beside `sizes`.
        tolerance: how far the file's answer may be from the network's, over the largest entry of that answer.

    Raises:
        ValueError: what is needed is not installed, the network cannot be exported for sizes that vary, or the file
            answers otherwise than the network; nothing is then written.
        OSError: the file cannot be written.
    """
    need_packages("onnx", "onnxscript", "onnxruntime")
    traced = trace(network, size, image_channels)

    made = _translate(network, traced)
    _name_axes(made.model)
    made.model.metadata_props.update({**metadata, "sizes": str(traced.sizes)})

    def load(path: Path) -> Callable[[Tensor], Tensor]:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda image: torch.from_numpy(session.run(None, {"image": image.cpu().numpy()})[0])

    return _write(network, Path(file), made.save, load, traced, tolerance)


def export_program(
    network: nn.Module,
    file: str | Path,
    *,
    size: tuple[int, int],
    image_channels: int = 3,
    metadata: Mapping[str, str] = NOTHING,
    tolerance: float = 1e-4,
) -> Exported:
    """Write a program (`.pt2`): `torch.export.load(file).module()` is the network again, without this library.

    The arguments are those of `export_onnx`; the metadata is JSON in the file's extra entry `sightline.json`.

    Raises:
        ValueError: the network cannot be exported for sizes that vary, or the file answers otherwise than the network;
            nothing is then written.
        OSError: the file cannot be written.
    """
    if Path(file).suffix != ".pt2":  # PyTorch opens no other
        raise ValueError(f"a program's file ends in .pt2, got {Path(file).name}")
    traced = trace(network, size, image_channels)
    extra = {EXTRA: json.dumps({**metadata, "sizes": str(traced.sizes)})}

    def save(path: Path) -> None:
        torch.export.save(traced.program, path, extra_files=extra)

    return _write(network, Path(file), save, lambda path: torch.export.load(path).module(), traced, tolerance)


def need_packages(*packages: str) -> None:
    """Say what installs them.

    Raises:
        ValueError: one is not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"an ONNX file needs {', '.join(packages)}, and {', '.join(missing)} is not installed: "
            "pip install 'sightline[export]'"
        )


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """PyTorch's exporter warns of its own code, and of operators of packages that are not there."""
    loud = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        loud.setLevel(level)


def _translate(network: nn.Module, traced: Traced) -> Any:
    """The graph in ONNX's operators."""
    try:
        with without_notes():
            return torch.onnx.export(
                traced.program, dynamo=True, verbose=False, input_names=["image"], output_names=["logits"]
            )
    except Exception as error:  # the exporter's own kinds, and what its parts raise
        raise ValueError(f"PyTorch has no ONNX for a part of {title(network)}: {first_line(error)}") from error


def _name_axes(model: Any) -> None:
    """Call the sizes batch, height and width, where the tracer has numbered symbols."""
    image = model.graph.inputs[0]
    named = {str(image.shape[axis].value): name for axis, name in AXES.items()}
    values = [image, *(out for node in model.graph.all_nodes() for out in node.outputs)]
    for value in values:
        for axis, dim in enumerate(value.shape if value.shape is not None else ()):
            if not isinstance(dim, int) and dim.value is not None:
                value.shape[axis] = re.sub(r"\bs\d+\b", lambda found: named.get(found[0], found[0]), dim.value)


def _write(
    network: nn.Module,
    file: Path,
    save: Callable[[Path], None],
    load: Callable[[Path], Callable[[Tensor], Tensor]],
    traced: Traced,
    tolerance: float,
) -> Exported:
    """Save, open again, compare; the file takes its name only then."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder,
            evaluated(network),
            torch.no_grad(),
        ):
            new = Path(folder) / file.name
            save(new)
            answer = load(new)
            differences = [_difference(network, answer, image, tolerance) for image in traced.images]
            for made in sorted(Path(folder).iterdir()):
                os.replace(made, file.parent / made.name)
    except OSError as error:
        raise said(error, f"{file} could not be written") from error
    return Exported(file, traced.sizes, tuple(_shape(image) for image in traced.images), max(differences))


def _difference(network: nn.Module, answer: Callable[[Tensor], Tensor], image: Tensor, tolerance: float) -> float:
    """How far the file's answer to an image is from the network's, over its largest entry.

    Raises:
        ValueError: too far, or the file gives no answer.
    """
    b, h, w = _shape(image)
    what = f"what was made of {title(network)} was not kept: for {b} x {h} x {w} (images, height, width) it"
    wanted = network(image).cpu()
    try:
        got = answer(image).detach().cpu()
    except Exception as error:  # whatever the runtime raises
        raise ValueError(f"{what} fails, {first_line(error)}") from error
    if got.shape != wanted.shape:
        raise ValueError(f"{what} answers {tuple(got.shape)} where the network answers {tuple(wanted.shape)}")
    apart = (got - wanted).abs() / wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
    largest = float(apart.max())
    if not largest <= tolerance:  # a NaN is no agreement
        at = [int(i) for i in torch.unravel_index(apart.nan_to_num(torch.inf).argmax(), apart.shape)]
        raise ValueError(
            f"{what} differs from the network by {largest:.1e} of the largest entry, more than {tolerance:.0e}, "
            f"at {at} of {list(apart.shape)}: {float(got[*at]):.6g} where the network says {float(wanted[*at]):.6g}"
        )
    return largest


def _shape(image: Tensor) -> Shape:
    return image.shape[0], image.shape[2], image.shape[3]
