"""Every operator is counted: as many operations as the reference's products have, or as the leaner order needs."""

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops.criss_cross import criss_cross_attention
from sightline.ops.flops import FORMULAS
from sightline.ops.non_local import non_local_attention
from sightline.ops.reference import attention

B, D, C, SIZE, KEYS = 2, 3, 5, (4, 7), (2, 3)
N, M = 28, 6


def maps(d: int = D, c: int = C, keys: tuple[int, int] = KEYS) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(B, d, *SIZE), torch.randn(B, d, *keys), torch.randn(B, c, *keys)


def counted(function: object, *tensors: Tensor, **options: object) -> int:
    with FlopCounterMode(display=False, custom_mapping=dict(FORMULAS)) as counter:
        function(*tensors, **options)  # type: ignore[operator]
    return counter.get_total_flops()


def test_softmax_is_counted_as_its_table_is() -> None:
    assert counted(non_local_attention, *maps()) == counted(attention, *maps()) == 2 * B * N * M * (D + C)


def test_the_fused_backend_is_counted_alike() -> None:
    assert counted(non_local_attention, *maps(c=D), backend="fused") == counted(attention, *maps(c=D)) > 0


def test_dot_product_is_counted_in_the_order_in_which_it_is_computed() -> None:
    query, key, value = (t.flatten(2) for t in maps())
    with FlopCounterMode(display=False) as counter:
        torch.bmm(torch.bmm(value, key.transpose(1, 2)), query)
    assert counted(non_local_attention, *maps(), pairwise="dot_product") == counter.get_total_flops() > 0


def test_concatenation_grows_with_the_positions_and_not_with_their_pairs() -> None:
    assert counted(non_local_attention, *maps(d=1), pairwise="concatenation") == 3 * B * C * (N + M)


def test_criss_cross_counts_each_key_of_the_cross_once() -> None:
    query, key, value = maps(keys=SIZE)
    assert counted(criss_cross_attention, query, key, value) == 2 * B * N * (4 + 7 - 1) * (D + C)


def test_no_forward_operator_is_forgotten() -> None:
    known = {str(op) for op in FORMULAS}
    there = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("sightline::")}
    forward = {f"sightline.{name}" for name in there if not name.endswith("_backward")}
    assert forward == known
