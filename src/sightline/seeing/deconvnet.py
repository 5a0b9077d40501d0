"""Which part of an image made a unit respond? The deconvnet of Zeiler & Fergus (2014, https://arxiv.org/abs/1311.2901,
section 2.1), for any network.

The response goes back down through the transposed filters, the recorded arg-max of every max-pooling (the *switches*)
and, in place of each ReLU's derivative, a ReLU of the signal itself:

    deconvnet      R_in = R_out [R_out > 0]
    guided         R_in = R_out [R_out > 0] [x > 0]      (Springenberg et al., 2015, https://arxiv.org/abs/1412.6806)
    redirected     R_in = R_out [R_out > 0 or x > 0]     (wakes units that are silent; for `optimised.py`)
    gradient       R_in = R_out [x > 0]

Autograd's backward pass already is all of it but the ReLU, so only that is replaced, by watching the operations of the
backward pass: a module, `F.relu`, `torch.relu` and `relu_` are the same operation there. The forward pass is untouched,
nothing is attached to a ReLU, and nothing outlives the call.

Left out: a ReLU written as clamp or maximum, leaky ReLU, GELU and the like, which keep their derivative; contrast
normalisation, which Zeiler & Fergus do not invert either; operations hidden inside compiled code.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.seeing.maps import as_map, layout

Rule = Literal["deconvnet", "guided", "redirected", "gradient"]
Prepare = Callable[[Tensor], Tensor]  # what a network wants done to an image in [0, 1] first, such as normalising it
RELU_BACKWARD = (torch.ops.aten.threshold_backward.default, torch.ops.aten.hardtanh_backward.default)  # ReLU, ReLU6


class ReluRule(TorchDispatchMode):
    """A context in which every ReLU's backward pass follows a rule; as a dispatch mode it sees all forms of ReLU."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        if rule not in ("deconvnet", "guided", "redirected", "gradient"):
            raise ValueError(f"asked for the rule {rule!r} for ReLU: choose deconvnet, guided, redirected or gradient")
        self.rule = rule

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, unless it is the backward pass of a ReLU."""
        lower = args[2] if func in RELU_BACKWARD else None  # the threshold; values to the left of it became constant
        if lower != 0 or self.rule == "gradient":
            return func(*args, **(kwargs or {}))
        signal = args[0]
        if self.rule == "deconvnet":
            return signal.clamp(min=0)
        derivative = func(*args, **(kwargs or {}))
        return derivative.clamp(min=0) if self.rule == "guided" else torch.where(signal > 0, signal, derivative)


def deconvnet(
    network: nn.Module,
    image: Float[Tensor, "c h w"],
    layer: str,
    channel: int | Sequence[int],
    *,
    position: tuple[int, int] | None = None,
    rule: Rule = "deconvnet",
    prepare: Prepare | None = None,
) -> Float[Tensor, "*k c h w"]:
    """What in the image made one unit of a layer respond, in the image's own pixels; signed.

    All other units are set to zero and the size of the unit's own response is sent back, so the result grows with it: a
    unit that answers with zero gives zeros, and for a negative response too it shows what spoke for the unit.

    Args:
        network: any module that takes `[b, c, h, w]`; it runs in evaluation mode and is left as it was.
        image: as the network takes it, or as `prepare` does; it is brought to the network's device and precision.
        layer: the name of a module of the network, whose output is a map, tokens or a vector.
        channel: one, or several for one picture each.
        position: the unit's place (y, x) on the layer's map; None: where the channel responds most.
        rule: how a ReLU passes the signal; `guided` and `gradient` are other methods, for comparison.
        prepare: applied to the batch first and to the result's way back; must be differentiable.

    Raises:
        ValueError: the layer, the channel or the position does not exist.
    """
    channels = [channel] if isinstance(channel, int) else list(channel)
    with torch.inference_mode(False), torch.enable_grad(), evaluated(network):
        pixels = image.detach().to(next(network.parameters(), image), copy=True).requires_grad_()
        batch = pixels[None].clone()  # a network may write into its input
        responses = responses_of(network, layer, batch if prepare is None else prepare(batch))[0]
        check_unit(layer, responses.shape, channels, position)
        pictures = []
        for one in channels:
            y, x = strongest(responses[one]) if position is None else position
            unit = responses[one, y, x]
            with ReluRule(rule):
                (back,) = torch.autograd.grad(unit, pixels, unit.detach().abs(), retain_graph=True, allow_unused=True)
            pictures.append(torch.zeros_like(pixels) if back is None else back)
    return pictures[0] if isinstance(channel, int) else torch.stack(pictures)


def strongest(response: Float[Tensor, "y x"]) -> tuple[int, int]:
    """Where a channel responds most, (y, x); the first such place in reading order."""
    return divmod(int(response.detach().flatten().argmax()), response.shape[1])


@contextmanager
def evaluated(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards every module is in the mode it was in."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


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
