"""Softmax attention of all positions over all positions through the fused kernels that PyTorch itself brings.

Wang et al., 2018 (https://arxiv.org/abs/1711.07971), equation 1 with the Gaussian form:

    out_i = sum_j softmax_j(scale q_i k_j) v_j

The same pair of operators as in `ops/softmax.py`, another kernel inside: on a CPU the flash kernel (Dao et al., 2022,
https://arxiv.org/abs/2205.14135), which wants query, key and value of one width; on CUDA the memory-efficient kernel
(Rabe and Staats, 2021, https://arxiv.org/abs/2112.05682), where widths may differ. Both are called by their inner
names, because the public function falls back to an N x N table without a word, and has no second derivative.

Not run on a GPU yet: there only shapes and types are tested, on tensors without data. From its source: its gradients
are the same bits twice only under `torch.use_deterministic_algorithms(True)`. The kernels read channels side by side;
maps that are channels first are copied. The CPU's adds up half precision gradients in half precision. Left out: the
flash and cuDNN kernels of CUDA; a lean second order, which recomputes the plain N x N form.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops.layouts import accumulation_type, empty_map, outside_autocast
from sightline.ops.softmax import register_derivatives

ON_CPU = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ON_CUDA = (torch.float16, torch.bfloat16, torch.float32)
ALIGNMENT = 16  # bytes: CUDA's kernel loads that many at once, so channels are padded with zeros to a multiple of it
MASK_ALIGNMENT = 16  # entries to which the rows of its mask are padded
LOG_SUM_EXP_ALIGNMENT = 32  # queries to which its log-sum-exp is padded


def why_not_fused(query: Tensor, value: Tensor) -> str | None:
    """Why no fused kernel can serve `[b, d, ...]` queries and `[b, c, ...]` values, in words, or None where one can."""
    device, d, c = query.device.type, query.shape[1], value.shape[1]
    if device not in ("cpu", "cuda"):
        return f"it has kernels for cpu and cuda, got tensors on {device}"
    served = ON_CPU if device == "cpu" else ON_CUDA
    if query.dtype not in served:
        names = ", ".join(str(t).removeprefix("torch.") for t in served)
        return f"on {device} it computes in {names}, got {query.dtype}"
    if device == "cpu" and d != c:
        return f"on cpu its kernel needs query and value of one width, got {d} and {c}"
    return None


def _rows(x: Tensor, alignment: int = 1) -> Tensor:
    """`[b,c,n] -> [b,1,n,c]`, one head, channels side by side and padded with zeros to the alignment."""
    missing = -x.shape[1] % alignment
    padded = F.pad(x.transpose(1, 2), (0, missing)) if missing else x.transpose(1, 2)
    return padded.contiguous().unsqueeze(1)


def _map(rows: Tensor, out: Tensor) -> Tensor:
    """`[b,1,n,c or more]` as `[b,c,n]` in the layout of `out`: as it is where that is its own, else written there."""
    result = rows.squeeze(1).narrow(2, 0, out.shape[1]).transpose(1, 2)
    axes = zip(result.shape, result.stride(), out.stride(), strict=True)
    if all(got == wanted for size, got, wanted in axes if size > 1):  # one sample's stride is anything, and no reason
        return result.as_strided(out.shape, out.stride(), result.storage_offset())
    return out.copy_(result)


def _bias(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """`[b,m] -> [b,1,n,m]` to add to the scores, without memory for n; a sample with nothing to see sees everything.

    What a kernel makes of a row of -inf is its own affair; such a sample's output and gradients are zeroed here.
    """
    if mask is None:
        return None
    b, m = mask.shape
    bias = query.new_zeros(b, m + -m % MASK_ALIGNMENT).narrow(1, 0, m)
    hidden = ~mask & mask.any(1, keepdim=True)
    return bias.masked_fill_(hidden, float("-inf")).view(b, 1, 1, m).expand(b, 1, query.shape[2], m)


def _blind(mask: Tensor) -> Tensor:
    """Samples that see nothing, `[b,1,1]`."""
    return ~mask.any(1).view(-1, 1, 1)


@outside_autocast
def fused_forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, channels_last: bool
) -> tuple[Tensor, Tensor]:
    """`[b,d,n], [b,d,m], [b,c,m], mask [b,m] -> out [b,c,n], log-sum-exp [b,n]` (of no meaning in blind samples)."""
    out = empty_map(value, value.shape[1], query.shape[2], channels_last)
    if 0 in (*query.shape, *value.shape):  # the kernels divide by such sizes
        return _nothing(query, key, value, out)
    bias = _bias(mask, query)
    if query.device.type == "cpu":
        rows, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            _rows(query), _rows(key), _rows(value), attn_mask=bias, scale=scale
        )
        lse = lse.squeeze(1).contiguous()
    else:
        a = ALIGNMENT // query.element_size()
        rows, lse, _, _ = torch.ops.aten._scaled_dot_product_efficient_attention(
            _rows(query, a), _rows(key, a), _rows(value, a), bias, compute_log_sumexp=True, scale=scale
        )
        lse = lse.squeeze(1).narrow(1, 0, query.shape[2]).contiguous()
    out = _map(rows, out)
    return out if mask is None else out.masked_fill_(_blind(mask), 0), lse


@outside_autocast
def fused_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, each in the layout of its input; the log-sum-exp gives the weights back."""
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    if 0 in (*query.shape, *value.shape):
        return grads[0].zero_(), grads[1].zero_(), grads[2].zero_()
    bias = _bias(mask, query)
    if mask is not None:
        grad = grad.masked_fill(_blind(mask), 0)  # and with it everything that follows from it
    if query.device.type == "cpu":
        rows = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(_rows(t) for t in (grad, query, key, value, out)),
            lse.unsqueeze(1),
            0.0,
            False,
            attn_mask=bias,
            scale=scale,
        )
    else:
        a = ALIGNMENT // query.element_size()
        g, q, k, v, o = (_rows(t, a) for t in (grad, query, key, value, out))
        padded = F.pad(lse, (0, -lse.shape[1] % LOG_SUM_EXP_ALIGNMENT), value=float("inf")).unsqueeze(1)
        no_dropout = torch.zeros((), dtype=torch.int64, device=query.device)
        rows = torch.ops.aten._scaled_dot_product_efficient_attention_backward(
            g, q, k, v, bias, o, padded, no_dropout, no_dropout, 0.0, [True, True, True, False], scale=scale
        )
    return _map(rows[0], grads[0]), _map(rows[1], grads[1]), _map(rows[2], grads[2])


def _nothing(query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    lse = query.new_full((query.shape[0], query.shape[2]), float("inf"), dtype=accumulation_type(query.dtype))
    return out.zero_(), lse


fused_op = torch.library.custom_op("sightline::fused_attention", fused_forward, mutates_args=())
fused_backward_op = torch.library.custom_op("sightline::fused_attention_backward", fused_backward, mutates_args=())
register_derivatives(fused_op, fused_backward_op)
