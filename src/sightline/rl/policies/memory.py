"""What a policy remembers of an episode: a gated recurrent unit between features and heads.

Cho et al., 2014, https://arxiv.org/abs/1406.1078, with the reset gate after the product, as PyTorch has it:

    r = sigmoid(W_r x + U_r h),  z = sigmoid(W_z x + U_z h),  n = tanh(W_n x + r (U_n h + c))
    h' = (1 - z) n + z h

Its output is its state, so what is known after each row is what the heads read there. While learning, a rollout
`[t, b]` is cut where episodes begin, and the pieces, sorted by length, go through the unit side by side: what one
episode left never reaches another, and the number of calls does not grow with the number of episodes.

Left out: several layers, and learning through the state that a rollout began with.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


@dataclass(frozen=True)
class Past:
    """What came before the rows `[t, b]` that are read next, and where among them it is forgotten."""

    state: Float[Tensor, "b m u"]
    """Of each of the policy's m memories (actor, critic), before the first row."""
    begins: Bool[Tensor, "t b"]
    """Rows that read the first observation of an episode."""


class Memory(nn.Module):
    """One memory: features `[t * b, inputs]` in the order of time to states `[t * b, units]`.

    Args:
        inputs: width of the features.
        units: width of the state.

    Raises:
        ValueError: no unit.
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        if units < 1:
            raise ValueError(f"a memory has 1 unit or more, got {units}: 0 in the settings means none")
        self.unit = nn.GRU(inputs, units)
        for name, weight in self.unit.named_parameters():
            if "bias" in name:
                nn.init.zeros_(weight)
                continue
            with torch.no_grad():
                for gate in weight.chunk(3):  # each gate's own matrix keeps lengths
                    nn.init.orthogonal_(gate)

    def forward(
        self, features: Float[Tensor, "n i"], state: Float[Tensor, "b u"], begins: Bool[Tensor, "t b"]
    ) -> Float[Tensor, "n u"]:
        """The state after every row; rows of `[t, b]` are counted as t b_count + b."""
        if len(begins) == 1:
            return torch.gru_cell(features, state.masked_fill(begins.T, 0.0), *self.unit.all_weights[0])
        time, count = begins.shape
        starts = begins.clone()
        starts[0] = True
        environment, start = starts.T.nonzero().T  # by environment, then time: where one piece ends the next begins
        place = environment * time + start
        length = torch.diff(place, append=place.new_tensor([time * count]))
        length, order = length.sort(descending=True, stable=True)
        environment, start = environment[order], start[order]
        step = torch.arange(int(length[0]), device=length.device)[:, None]
        present = step < length
        rows = ((start + step) * count + environment)[present]
        # Pieces that begin no episode go on from before the first row.
        first = state[environment].masked_fill(begins[start, environment][:, None], 0.0)
        packed = PackedSequence(features.index_select(0, rows), present.sum(1).cpu())
        states = self.unit(packed, first[None])[0].data
        back = torch.empty_like(rows)
        back[rows] = torch.arange(len(rows), device=rows.device)
        return states.index_select(0, back)
