"""The operators that `sightline bench ops` compares: the naive form people write, the lean form, and the slow truth.

Naive forms follow published code: criss-cross with both score maps joined (Huang et al., 2019,
https://arxiv.org/abs/1811.11721), non-local with its N x N table (Wang et al., 2018, https://arxiv.org/abs/1711.07971).
The concatenation form is already the kind one: ReLU(a_i + b_j), not the table of pairs of whole vectors.

Left out: projections and residuals, which are alike in both forms.
"""

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sightline.ops import criss_cross_plain
from sightline.ops.criss_cross import criss_cross_attention
from sightline.ops.non_local import non_local_attention
from sightline.ops.patterns import Pattern, criss_cross, everything
from sightline.ops.reference import attention

Operator = Callable[[Tensor, Tensor, Tensor], Tensor]
PASSES = 2  # of the recurrent form: the fewest after which every position sees all


@dataclasses.dataclass(frozen=True)
class Case:
    """One operator: its forms, and what its naive form needs."""

    naive: Operator  # query [b,d,h,w], key [b,d,h,w], value [b,c,h,w] -> [b,c,h,w]
    lean: Operator
    truth: Operator  # from the reference, by `Pattern`
    width: Callable[[int], int]  # of query and key, given the value's channels
    pairs: Callable[[int, int], int]  # weights of the naive form for a map h x w

    def naive_bytes(self, batch: int, side: int, itemsize: int) -> int:
        """About what the naive form has in memory while it trains: weights, scores, and the gradients of both."""
        return 4 * batch * self.pairs(side, side) * itemsize


def naive_non_local(pairwise: str) -> Operator:
    """The N x N form of the three pairwise functions, as it is written everywhere."""

    def form(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)
        if pairwise == "concatenation":
            table = torch.relu(q.transpose(1, 2) + k) / k.shape[2]
        else:
            table = torch.bmm(q.transpose(1, 2), k)
            table = table.softmax(-1) if pairwise == "softmax" else table / k.shape[2]
        return torch.bmm(v, table.transpose(1, 2)).unflatten(2, query.shape[2:])

    return form


def repeated(operator: Operator) -> Operator:
    """The operator applied to its own output, with one query and key: what recurrent criss-cross attention costs."""

    def form(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        for _ in range(PASSES):
            value = operator(query, key, value)
        return value

    return form


def truth(pattern: Pattern = everything, pairwise: str = "softmax") -> Operator:
    """The slow reference as an operator of three tensors."""
    return lambda query, key, value: attention(query, key, value, pattern=pattern, pairwise=pairwise)


def _non_local(pairwise: str, width: Callable[[int], int]) -> Case:
    return Case(
        naive_non_local(pairwise),
        lambda query, key, value: non_local_attention(query, key, value, pairwise=pairwise),
        truth(pairwise=pairwise),
        width,
        lambda h, w: (h * w) ** 2,
    )


def _an_eighth(channels: int) -> int:
    return max(1, channels // 8)  # as the published criss-cross layer reduces


CASES: Mapping[str, Case] = {
    "criss_cross": Case(
        criss_cross_plain.attention,
        criss_cross_attention,
        truth(criss_cross),
        _an_eighth,
        lambda h, w: h * w * (h + w),
    ),
    "recurrent_criss_cross": Case(
        repeated(criss_cross_plain.attention),
        repeated(criss_cross_attention),
        repeated(truth(criss_cross)),
        _an_eighth,
        lambda h, w: PASSES * h * w * (h + w),
    ),
    "softmax": _non_local("softmax", lambda channels: channels),
    "dot_product": _non_local("dot_product", lambda channels: channels),
    "concatenation": _non_local("concatenation", lambda channels: 1),
}


def inputs(
    case: Case, batch: int, channels: int, size: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """Query, key and value that want gradients, the same numbers at every call."""
    generator = torch.Generator().manual_seed(0)
    widths = (case.width(channels), case.width(channels), channels)
    return [
        torch.randn(batch, width, *size, generator=generator, dtype=torch.float64).to(device, dtype).requires_grad_()
        for width in widths
    ]


def calls(operator: Operator, tensors: list[Tensor]) -> dict[str, Callable[[], object]]:
    """The forward pass alone, and forward and backward together; neither leaves anything behind."""

    def forward() -> Tensor:
        with torch.no_grad():
            return operator(*tensors)

    def training() -> tuple[Tensor, ...]:
        out = operator(*tensors)
        return torch.autograd.grad(out, tensors, torch.ones_like(out))

    return {"forward": forward, "training": training}
