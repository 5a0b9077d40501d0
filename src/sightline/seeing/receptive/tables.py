"""Tables of hulls, the numbers in them, and the axes that stand for any size.

Tables are int64 `[4, *shape]`: lowest and negated highest coordinate, first clipped to the image, then *unclipped*,
with the coordinates that padding would have if the image went on. Numbers from `NOTHING` on say that an element depends
on no pixel, and what is known of the constant that it is.

Left out: what an operation does to a table (`relations.py`).
"""

from collections.abc import Sequence

from jaxtyping import Bool, Int
from torch import Tensor

NOTHING = 1 << 40  # depends on no pixel; every number below is a coordinate
MASKED = NOTHING + 1  # nor does it count in a softmax: it is -inf, or the lowest number there is
ZERO = NOTHING + 2  # nor does anything that is multiplied by it
ABSENT = NOTHING + 3  # no element at all: what a minimum starts from
NO_SOURCE = -(1 << 40)  # a tap that meets nothing, not even padding: between the inputs of a transposed convolution


def any_over(marked: Bool[Tensor, "..."], axes: Sequence[int]) -> Bool[Tensor, "..."]:
    """True where any along the axes is, which stay with size 1."""
    for axis in axes:
        if marked.shape[axis] > 1:
            marked = marked.any(axis, keepdim=True)
    return marked


def reshaped(x: Tensor, shape: Sequence[int], out: Sequence[int]) -> Tensor:
    """`x`, which stands for `shape` with size 1 where nothing changes, under the shape `out`; 1 where it can be."""
    given: list[int] = list(shape)
    wanted: list[int] = list(out)
    expanded, small = [], []
    i = j = 0
    while i < len(given) or j < len(wanted):  # the shortest runs of axes with equal products
        a, b = [i], [j]
        left = given[i] if i < len(given) else 1
        right = wanted[j] if j < len(wanted) else 1
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left *= given[i]
                a.append(i)
                i += 1
            else:
                right *= wanted[j]
                b.append(j)
                j += 1
        mine = [k for k in a if k < len(given)]
        uniform = all(x.shape[k] == 1 for k in mine)
        expanded += [1 if uniform else given[k] for k in mine]
        small += [1 if uniform else wanted[k] for k in b if k < len(wanted)]
    return x.expand(expanded).reshape(small)


def collapsed(table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
    """The same table with size 1 along every axis where nothing changes."""
    for axis in range(1, table.dim()):
        if table.shape[axis] > 1:
            first = table.narrow(axis, 0, 1)
            if table.stride(axis) == 0 or bool((first == table).all()):
                table = first
    return table


def count(shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has."""
    count = 1
    for size in shape:
        count *= size
    return count
