"""Floating-point operations of the attention operators, for `torch.utils.flop_counter.FlopCounterMode`.

The counter does not look into custom operators and counts them as nothing. With `FORMULAS` it counts what it counts
elsewhere, the matrix products of the forward pass, two operations for each multiply-add, softmax not included:

    FlopCounterMode(custom_mapping=FORMULAS)

Left out: backward passes; sorting and searching (concatenation counts the arithmetic of its sums).
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from sightline.ops import criss_cross, non_local  # noqa: F401  they define the operators named below

Shape = Sequence[int]


def criss_cross_flops(query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None) -> int:
    """`[b,d,h,w], [b,d,h,w], [b,c,h,w]`: each of H W queries meets H + W - 1 keys, in scores and in sums."""
    b, d, h, w = query
    return 2 * b * h * w * (h + w - 1) * (d + value[1])


def softmax_flops(query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None) -> int:
    """`[b,d,n], [b,d,m], [b,c,m]`: each query meets each key, in scores and in sums."""
    b, d, n = query
    return 2 * b * n * key[2] * (d + value[1])


def dot_product_flops(query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None) -> int:
    """`[b,d,n], [b,d,m], [b,c,m]`: keys times values, then that table times queries."""
    b, d, n = query
    return 2 * b * d * value[1] * (n + key[2])


def concatenation_flops(query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None) -> int:
    """`[b,n], [b,m], [b,c,m]`: two running sums and one product per key and channel, a S + T over M per query."""
    b, n = query
    return 3 * b * value[1] * (n + key[1])


FORMULAS: Mapping[object, Callable[..., int]] = {
    torch.ops.sightline.criss_cross_attention: criss_cross_flops,
    torch.ops.sightline.softmax_attention: softmax_flops,
    torch.ops.sightline.fused_attention: softmax_flops,
    torch.ops.sightline.dot_product_attention: dot_product_flops,
    torch.ops.sightline.concatenation_attention: concatenation_flops,
}
