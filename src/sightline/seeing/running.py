"""Running a network to read one layer: as far as the layer and no further, and leaving the network as it was.

Left out: several layers at once; `receptive/fields.py` and `attention_calls.py` watch a whole run.
"""

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.modes import evaluated
from sightline.seeing.maps import as_map, layout


class _Reached(BaseException):
    """Leaves a forward pass; not an Exception, which a network may catch."""


def output_of(network: nn.Module, layer: str, batch: Float[Tensor, "b c h w"], *, stop: int | None = None) -> Tensor:
    """The output of one named module, as it leaves the module: an in-place operation behind it changes nothing.

    A module that runs more than once is taken by its last run, or, to save the rest of the network, by run `stop`.

    Raises:
        ValueError: there is no such module, it did not run, or it gives no tensor.
    """
    outputs = _outputs(network, layer, batch, stop)
    if not outputs:
        raise ValueError(f"the layer {layer!r} does not run on this image: choose another")
    return outputs[-1]


def runs_of(network: nn.Module, layer: str, batch: Float[Tensor, "b c h w"]) -> int:
    """How often a named module runs in one forward pass."""
    with torch.no_grad(), evaluated(network):
        return len(_outputs(network, layer, batch, None))


def _outputs(network: nn.Module, layer: str, batch: Tensor, stop: int | None) -> list[Tensor]:
    modules = dict(network.named_modules())
    if layer not in modules:
        nearest = difflib.get_close_matches(layer, modules, 1, 0.0)
        raise ValueError(f"the network has no layer {layer!r}: the nearest name is {nearest[0]!r}")
    outputs: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Any) -> None:
        tensor = _first_tensor(output)
        if tensor is None:
            raise ValueError(f"the layer {layer!r} gives {type(output).__name__}, no tensor: choose another")
        outputs.append(tensor.clone())
        if len(outputs) == stop:
            raise _Reached

    hook = modules[layer].register_forward_hook(keep)
    try:
        network(batch)
    except _Reached:
        pass
    finally:
        hook.remove()
    return outputs


def _first_tensor(output: Any) -> Tensor | None:
    """A module's output, or the first tensor of a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if hasattr(output, "values") else output if isinstance(output, tuple | list) else ()
    return next((tensor for tensor in map(_first_tensor, parts) if tensor is not None), None)


def responses_of(
    network: nn.Module, layer: str, batch: Float[Tensor, "b c h w"], *, stop: int | None = None
) -> Float[Tensor, "b k y x"]:
    """The output of a layer laid over the image; a vector is a map of one position."""
    output = output_of(network, layer, batch, stop=stop)
    return as_map(output, layout(output.shape, (batch.shape[-2], batch.shape[-1])))


def check_unit(layer: str, shape: Sequence[int], channels: Sequence[int], position: tuple[int, int] | None) -> None:
    """Say in one sentence that a channel or a position is not on a layer's map `[c, y, x]`.

    Raises:
        ValueError: so.
    """
    count, height, width = shape
    for channel in channels:
        if not 0 <= channel < count:
            raise ValueError(f"channel {channel} was asked of {layer!r}, whose channels go from 0 to {count - 1}")
    if position is not None and not (0 <= position[0] < height and 0 <= position[1] < width):
        raise ValueError(
            f"position {tuple(position)} was asked of {layer!r}, whose map is {height} x {width}: choose one inside"
        )
