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

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.layers.modes import evaluated
from sightline.seeing.running import check_unit, responses_of

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
