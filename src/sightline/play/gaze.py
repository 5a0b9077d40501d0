"""Where an agent looks in one step: one map over the image that its policy reads, from any encoder that attends.

Attention is found by watching the encoder run (`seeing/attention_calls.py`), a user's own encoder too. The gaze is that
of the last attention layer that lies on the image, the mean of its heads:

- where the policy reads a summary and a class token stands first: what the class token takes from each position;
- otherwise the policy reads the whole map: what each position gives on average over all positions that ask, the column
  mean of the table.

Passes of criss-cross attention that follow each other count as one layer: with the tables A1, A2 and the average r, the
gaze is r A2 A1. The weights say where the layer takes from, not what the policy does with it: values, the residual
beside the attention and the layers behind it are not counted.

Left out: earlier layers, gradients, the critic's encoder where it has its own, and a second image that attends.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.models.trace import By
from sightline.ops.criss_cross import criss_cross_attention
from sightline.rl.policies.body import Body
from sightline.rl.trees import Arrays
from sightline.seeing.attention import on_grid
from sightline.seeing.attention_calls import Call, watch_attention

ROWS = 64  # rows of a table at once


@dataclass(frozen=True)
class Gaze:
    """Where one step's decision took from."""

    weights: Float[np.ndarray, "y x"]
    """Share of the attention on every cell; what is missing to 1 lies on tokens that stand nowhere."""
    even: float
    """The share that every token would have if it looked everywhere alike."""
    layer: str
    """Name of the attention layer within the encoder."""
    asks: str
    """Who looks, in words."""


def gaze_of(body: Body, observation: Arrays) -> Gaze | None:
    """The gaze of a body on one observation, `[1, ...]`, normalised as the body takes it; None if nothing attends."""
    for (path, space), encoder in zip(body.images, body.encoders, strict=True):
        part = observation
        for key in path:
            part = part[key]
        found = gaze_of_encoder(encoder, body.image(part, space), summary=body.pool == "summary")
        if found is not None:
            return found
    return None


def gaze_of_encoder(encoder: nn.Module, image: Float[Tensor, "1 c h w"], *, summary: bool) -> Gaze | None:
    """The gaze of one encoder, read as a map or as a summary; None if no attention could be placed on the image."""
    summary = summary and callable(getattr(encoder, "summary", None))
    chain: list[Call] = []

    def see(call: Call) -> None:
        if call.queries.grid is None or call.keys.grid is None or call.groups > 1:
            return
        if not (chain and _continues(chain[-1], call)):
            chain.clear()
        chain.append(call)

    with torch.no_grad():
        watch_attention(By(encoder, "summary") if summary else encoder, image, see)
        if not chain:
            return None
        queries, keys = chain[-1].queries, chain[0].keys
        asking = torch.zeros(queries.count)
        if summary and queries.prefix:
            asking[0] = 1.0
            asks = "the class token"
        else:
            assert queries.grid is not None
            count = queries.grid[0] * queries.grid[1]
            asking[queries.prefix : queries.prefix + count] = 1 / count
            asks = f"the mean of all {count} positions"
        for call in reversed(chain):
            asking = _through(call, asking)
    weights, _ = on_grid(asking[None], keys)
    layer = chain[-1].layer.removeprefix("network.") if summary else chain[-1].layer
    return Gaze(weights[0].numpy(), 1 / keys.count, layer, asks)


def half_cells(weights: Float[np.ndarray, "y x"]) -> int:
    """The fewest cells that hold half of the attention on the image."""
    ordered = np.sort(weights.ravel())[::-1].cumsum()
    return int(np.searchsorted(ordered, ordered[-1] / 2 - 1e-9)) + 1


def _continues(last: Call, call: Call) -> bool:
    """Whether a criss-cross pass got the very tensor that the last one returned."""
    before, here = last.criss_cross, call.criss_cross
    return before is not None and here is not None and here.source is before.output


def _through(call: Call, asking: Float[Tensor, " n"]) -> Float[Tensor, " m"]:
    """The attention that each key receives from queries that count so much."""
    if call.criss_cross is not None:  # r A at once: the gradient of r (A v) by the values v
        one = call.criss_cross
        with torch.enable_grad():
            value = torch.ones_like(one.x[:, :1]).requires_grad_()
            query, key = one.layer.query_conv(one.x).detach(), one.layer.key_conv(one.x).detach()
            out = criss_cross_attention(query, key, value, mask=one.mask)
            (received,) = torch.autograd.grad((out.flatten() * asking.to(out)).sum(), value)
        return received.flatten().float().cpu()
    total = torch.zeros(call.keys.count)
    for start in range(0, len(asking), ROWS):
        block = asking[start : start + ROWS]
        if bool(block.any()):
            total += block @ call.rows(start, start + len(block)).float().mean(0).cpu()
    return total
