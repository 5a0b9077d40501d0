"""Every attention call of any network, met while it runs, with a way to ask for rows of its table.

The network is run once, unedited, with two temporary kinds of watching: forward hooks on its modules tell which module
runs, and a `TorchFunctionMode`, which holds inside this call alone, sees the functions they use. Recognised are

- layers with `.weights` (`layers/attention.py`), by what they say themselves about the input they got;
- `nn.MultiheadAttention` and `nn.TransformerEncoder`: PyTorch leaves its fused path while functions are watched, and
  calls `multi_head_attention_forward`, whose queries and keys are projected here again;
- `scaled_dot_product_attention`, with masks, causality, scale and grouped heads;
- softmax written out: a table from a softmax over its last axis that is then multiplied with values (`matmul`, `bmm`,
  `einsum`). Not if it mixes channels (the values are as wide as a grid has positions), nor if it is neither square nor
  has an axis of heads nor keys on a grid (a gate, a codebook).

Left out: what runs inside scripted or compiled modules and foreign kernels (xformers, flash-attn), linear attention,
and a table that is permuted otherwise than by a transpose between its softmax and the values: none of these is seen.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from sightline.layers.attention import AttentionLayer
from sightline.layers.criss_cross import CrissCross
from sightline.layers.modes import evaluated
from sightline.layers.multi_head import MultiHeadAttention
from sightline.layers.non_local import NonLocal
from sightline.seeing.attention_places import MAP_MAKERS, Ground, Place
from sightline.seeing.attention_rows import Scores, Table, from_multi_head, from_scaled_dot_product, from_table
from sightline.seeing.attention_rows import heads_of_groups as as_heads


@dataclasses.dataclass(frozen=True)
class Pass:
    """One run of a criss-cross layer, from which several passes can be composed."""

    layer: CrissCross
    """the layer."""
    x: Tensor
    """what it got, `[1, c, y, x]`, copied."""
    source: Tensor
    """the very tensor that it got."""
    mask: Tensor | None
    """its mask, if any."""
    output: Tensor
    """what it returned: the very tensor that the next pass gets."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One attention call. Its rows are those of the first item of the batch."""

    layer: str
    """name of the innermost module that was running."""
    kind: str
    """which attention, in words."""
    number: int
    """1 for the layer's first call, 2 for its second."""
    queries: Place
    """how the queries lie over the image."""
    keys: Place
    """how the keys lie over the image."""
    groups: int
    """items into which the layer has cut the one image (windows); 1 where it is whole."""
    row: Callable[[int], Tensor]
    """index of a query -> its weights `[heads, m]`."""
    rows: Callable[[int, int], Tensor]
    """start and stop -> weights `[heads, r, m]`."""
    written_out: bool = False
    """whether the network itself has made the table, so that holding on to `rows` holds all of it."""
    criss_cross: Pass | None = None
    """for a criss-cross layer what the composition of passes needs."""


def watch_attention(
    network: nn.Module, image: Float[Tensor, "b c h w"], see: Callable[[Call], None], *, prefix: int | None = None
) -> None:
    """Run a network once on the first image, and hand each attention call to `see` as it happens, in order.

    The network runs in evaluation mode without gradients; its modes, hooks and the random state are put back also when
    it raises. `prefix` is the number of tokens before the grid, for a network whose tokens cannot be placed otherwise.

    Raises:
        ValueError: the image is no batch of images of floating-point numbers.
    """
    if image.dim() != 4 or image.shape[0] < 1 or not image.is_floating_point():
        raise ValueError(
            f"attention is watched on images [b, c, h, w] of floating-point numbers, got {image.dtype} of shape "
            f"{tuple(image.shape)}: add the batch axis, convert the numbers"
        )
    watch = _Watch(Ground((image.shape[2], image.shape[3]), prefix), see)
    asked = _attention_layers(network)
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    handles: list[Any] = []
    try:
        for name, module in network.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no such hooks; what runs inside is not seen
            enter = functools.partial(watch.enter, name, module in asked)
            leave = functools.partial(watch.leave, module in asked)
            handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, with_kwargs=True, always_call=True))
        with evaluated(network), torch.random.fork_rng(devices), torch.no_grad(), watch:
            network(image[:1])
    finally:
        for handle in handles:
            handle.remove()


def _attention_layers(network: nn.Module) -> set[nn.Module]:
    """Modules that can be asked for their weights; of nested ones the innermost."""
    able = {m for m in network.modules() if isinstance(m, AttentionLayer) and _answers(m)}
    return {m for m in able if not any(inner in able for inner in m.modules() if inner is not m)}


def _answers(module: nn.Module) -> bool:
    weights = getattr(module, "weights", None)
    return callable(weights) and "query" in inspect.signature(weights).parameters


class _Watch(TorchFunctionMode):
    """The state of one run: the modules under way, the grids known, the tables that wait for their values."""

    def __init__(self, ground: Ground, see: Callable[[Call], None]) -> None:
        super().__init__()
        self.ground, self.see = ground, see
        self.names: list[str] = []
        self.items: list[int] = []  # beside each name: how many items the module's input has
        self.under_way: list[list[Scores]] = []  # one list for each layer under way that will be asked itself
        self.counts: dict[str, int] = {}
        self.tables = WeakTensorKeyDictionary()  # tensor -> whether it is a transposed table
        self.paused = False

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What is asked of the network's layers meanwhile is no part of its run."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def enter(self, name: str, asked: bool, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module starts."""
        if not self.paused:
            self.names.append(name)
            tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            self.items.append(tensors[0].shape[0] if tensors and tensors[0].dim() > 2 else 1)
            if asked:
                self.under_way.append([])

    def leave(self, asked: bool, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: object) -> None:
        """A module has ended; with None if it raised."""
        if self.paused:
            return
        if asked:
            inside = self.under_way.pop()
            if isinstance(out, Tensor) and not self.under_way:
                self._ask(module, args, kwargs, out, inside)
        self.names.pop()
        self.items.pop()

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function as it is, and look at it if it may be a part of attention."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not self.paused:
            self._look(getattr(func, "__name__", ""), args, kwargs, out)
        return out

    def _look(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        if name == "scaled_dot_product_attention":
            scores = from_scaled_dot_product(args, kwargs)
            if (
                scores is not None
                and scores.groups > 1
                and out.dim() == 3
                and self._placed(scores)
                and self._whole(out.shape[1])
            ):
                scores = as_heads(args, kwargs)
            if scores is not None:
                self._met(scores, "scaled dot product")
        elif name == "multi_head_attention_forward":
            self._met(from_multi_head(args, kwargs), "multi-head")
        elif name in MAP_MAKERS:
            if isinstance(out, Tensor) and out.dim() == 4 and out.shape[0] == 1:
                self.ground.saw_map(out.shape[2:])
        elif name in ("cat", "concat", "concatenate"):
            parts = args[0] if args else kwargs["tensors"]
            axis = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))
            if isinstance(out, Tensor) and out.dim() == 3 and axis % 3 < 2:
                self.ground.saw_join(parts, axis % 3)
        elif name == "softmax":
            axis = args[1] if len(args) > 1 and isinstance(args[1], int) else kwargs.get("dim")
            if axis is not None and out.dim() > 1 and axis % out.dim() == out.dim() - 1:
                self.tables[out] = False
        elif self.tables:
            if name in ("matmul", "bmm"):
                self._multiplied(args, kwargs)
            elif name == "einsum":
                self._contracted(args)
            else:
                self._follow(args, out)

    def _placed(self, scores: Scores | Table) -> bool:
        n, m = _sides(scores)
        return self.ground.place(n).grid is not None and self.ground.place(m).grid is not None

    def _whole(self, n: int) -> bool:
        """Whether the module under way got one item (or n tokens, batch second), not many, such as windows."""
        return not self.items or self.items[-1] in (1, n)

    def _met(self, found: Scores | Table, kind: str) -> None:
        """A call of a function: of the layer that will be asked, or of its own."""
        if self.under_way:
            if isinstance(found, Scores):
                self.under_way[-1].append(found)
            return
        n, m = _sides(found)
        if found.groups > 1:
            queries, keys = Place(n, None), Place(m + found.extra, None)
        else:
            queries, keys = self.ground.place(n), self.ground.place(m)
            keys = dataclasses.replace(keys, count=m + found.extra, suffix=keys.suffix + found.extra)
        self._tell(
            kind=kind,
            queries=queries,
            keys=keys,
            groups=found.groups,
            row=lambda index: found.rows(index, index + 1)[:, 0],
            rows=found.rows,
            written_out=isinstance(found, Table),
        )

    def _tell(self, **of_call: Any) -> None:
        layer = self.names[-1] if self.names else ""
        self.counts[layer] = self.counts.get(layer, 0) + 1
        with self.pause():
            self.see(Call(layer=layer, number=self.counts[layer], **of_call))

    def _ask(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor, inside: list[Scores]
    ) -> None:
        """A layer with `.weights` has run: its rows are what it says about the input that it got."""
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        x, *_ = given.values()
        groups = x.shape[0]
        known = inspect.signature(module.weights).parameters  # type: ignore[arg-type]
        options = {k: v for k, v in list(given.items())[1:] if v is not None and k in known}
        options = {k: v[:1] if isinstance(v, Tensor) and v.shape[:1] == (groups,) else v for k, v in options.items()}
        # A copy, for the network may go on to write into the tensor.
        first = x[:1].detach().clone()
        sizes = x.shape[2:] if x.dim() > 3 or isinstance(module, NonLocal) else x.shape[1:2]
        by_index = isinstance(module, MultiHeadAttention) and x.dim() == 3

        def row(index: int) -> Tensor:
            query = index if by_index else tuple(int(i) for i in torch.unravel_index(torch.tensor(index), sizes))
            with torch.no_grad(), self.pause():
                weights = module.weights(first, query, **options)[0]  # type: ignore[operator]
            keys = weights.flatten(-len(sizes))
            return keys if weights.dim() > len(sizes) else keys[None]

        def one_by_one(start: int, stop: int) -> Tensor:
            return torch.stack([row(index) for index in range(start, stop)], 1)

        key_sizes = sizes
        if not isinstance(module, CrissCross | MultiHeadAttention):  # others may sub-sample their keys
            with torch.no_grad(), self.pause():
                asked_once = module.weights(first, (0,) * len(sizes), **options)  # type: ignore[operator]
            key_sizes = asked_once.shape[-len(sizes) :]
        queries, keys = (self._place_of_layer(s, options.get("size"), groups) for s in (sizes, key_sizes))
        whole = len(inside) == 1 and _sides(inside[0]) == (queries.count, keys.count)
        kinds = {NonLocal: "non-local", CrissCross: "criss-cross", MultiHeadAttention: "multi-head"}
        self._tell(
            kind=next((kind for made, kind in kinds.items() if isinstance(module, made)), "attention layer"),
            queries=queries,
            keys=keys,
            groups=groups,
            row=row,
            rows=inside[0].rows if whole else one_by_one,
            criss_cross=Pass(module, first, x, given.get("mask"), out) if isinstance(module, CrissCross) else None,
        )

    def _place_of_layer(self, sizes: tuple[int, ...], size: tuple[int, ...] | None, groups: int) -> Place:
        count = math.prod(sizes)
        if groups > 1 or len(sizes) > 2:
            return Place(count, None)
        if len(sizes) == 2:
            return Place(count, (sizes[0], sizes[1]))
        if size is not None and len(size) == 2:
            return Place(count, (size[0], size[1]), count - math.prod(size))
        return self.ground.place(count)

    def _multiplied(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A table times values, or values times a transposed table."""
        operands = [*args, *(kwargs[k] for k in ("input", "mat2", "other") if k in kwargs)]
        if len(operands) == 2 and all(isinstance(o, Tensor) for o in operands):
            left, right = operands
            if self.tables.get(left) is False:
                self._met_table(left, right.shape[-1])
            elif self.tables.get(right) is True:
                self._met_table(right.mT, left.shape[-2] if left.dim() > 1 else 1)

    def _contracted(self, args: tuple[Any, ...]) -> None:
        """An einsum that sums over the keys of a table and keeps its queries."""
        equation, *operands = args
        operands = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
        if not isinstance(equation, str) or "->" not in equation:
            return
        left, result = equation.replace(" ", "").split("->")
        terms = left.split(",")
        for i, (term, operand) in enumerate(zip(terms, operands, strict=False)):
            transposed = self.tables.get(operand) if isinstance(operand, Tensor) else None
            if transposed is None or len(term) < 2 or "..." in term[-3:]:
                continue
            n, m = (term[-1], term[-2]) if transposed else (term[-2], term[-1])
            others = "".join(terms[:i] + terms[i + 1 :])
            if n in result and m not in result and m in others and n not in others:
                axes = dict(zip("".join(terms), [s for o in operands for s in o.shape], strict=False))
                width = max([axes.get(c, 1) for c in result if c in others and c not in term], default=1)
                self._met_table(operand.mT if transposed else operand, width)

    def _met_table(self, weights: Tensor, width: int) -> None:
        """A table and the width of the values that it was multiplied with."""
        table = from_table(weights, merged=not self._whole(weights.shape[-2]))
        n, m = _sides(table)
        if self.ground.place(m).grid is None and table.groups == 1:
            of_channels = self.ground.place(width).grid is not None
            if of_channels or (weights.dim() < 4 and n != m):
                return
        self._met(table, "softmax written out")

    def _follow(self, args: tuple[Any, ...], out: Any) -> None:
        """Dropout, another dtype, a factor, another shape around it: still the table, perhaps transposed."""
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.dim() < 2:
            return
        for source in args:
            turned = self.tables.get(source) if isinstance(source, Tensor) else None
            if turned is None or source is out or source.numel() != out.numel():
                continue
            view = source.data_ptr() == out.data_ptr() and source.stride()[-2:] == out.stride()[:-3:-1]
            if view and source.shape[-2:] == out.shape[:-3:-1] and source.stride()[-2:] != out.stride()[-2:]:
                self.tables[out] = not turned
            elif source.shape[-2:] == out.shape[-2:]:
                self.tables[out] = turned
            return


def _sides(found: Scores | Table) -> tuple[int, int]:
    """Queries and keys, those not counted that the layer added."""
    if isinstance(found, Table):
        return found.weights.shape[1], found.weights.shape[2] - found.extra
    return found.query.shape[1], found.key.shape[1] - found.extra
