"""Small networks for the receptive-field tests: writing in place, moving, sampling, sums along an axis."""

import torch
import torch.nn.functional as F
from tests.seeing.small_cases import Both, Case, steps
from tests.seeing.small_convolutions import conv
from torch import Tensor, nn


@torch.library.custom_op("sightline_tests::mirror_rows", mutates_args=())
def mirror_rows(x: Tensor) -> Tensor:
    """Turns rows round: an operator that no table of rules can know."""
    return x.flip(2).contiguous()


@mirror_rows.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def every_second_column(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, :, ::2] = F.relu(x[:, :, :, 1::2].sum(3, keepdim=True))
    return x


def into_zeros(x: Tensor) -> Tensor:
    y = torch.zeros(x.shape[0], x.shape[1], x.shape[2] + 2, x.shape[3], dtype=x.dtype)
    y[:, :, 1:-1] = x
    y[:, :, 0] += x[:, :, 3]
    return y


def added_in_place(x: Tensor) -> Tensor:
    y = x.clone()
    y += x.roll(2, 3)
    y[:, :, 2:5].relu_().mul_(x[:, :, :3])
    return y


def through_two_views(x: Tensor) -> Tensor:
    """A view made before the writing sees what was written through another."""
    y = x.clone()
    early = y.flatten(2)
    y[:, :, 0].copy_(x[:, :, -1])
    early[..., 5:9].zero_()
    return y + early.view_as(y).flip(2)


def overwritten(x: Tensor) -> Tensor:
    y = x.flip(3)
    y[:, :, 1] = 0.5
    y[:, 1:].fill_(2.0)
    return y


def deeper(x: Tensor) -> Tensor:
    return x.tril().triu(-3) + x.diagonal(dim1=2, dim2=3).sum(-1)[..., None, None]


class Positions(nn.Module):
    """A table of positions, learned, and one looked up."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, *size))
        self.columns = nn.Embedding(size[1], 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table + self.columns(torch.arange(x.shape[3])).T[:, None]


class Warp(nn.Module):
    """Samples at positions that the code, or the image, decides."""

    def __init__(self, *, offsets: bool) -> None:
        super().__init__()
        self.first, self.last = conv(3, 4, 2), conv(4, 3, 2)
        self.offsets = conv(3, 2, 2) if offsets else None
        turn = torch.tensor([[[0.8, 0.4, 0.1], [-0.3, 0.9, -0.05]]])
        self.register_buffer("turn", turn)

    def forward(self, x: Tensor) -> Tensor:
        features = self.first(x)
        grid = F.affine_grid(self.turn.expand(len(x), 2, 3), list(features.shape), align_corners=False)
        if self.offsets is not None:
            grid = grid + 0.2 * self.offsets(x).tanh().permute(0, 2, 3, 1)
        return self.last(F.grid_sample(features, grid, align_corners=False))


class Deformable(nn.Module):
    """Bilinear sampling written out with `gather`, at positions that the image decides (Dai et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.offsets = conv(3, 4, 3, padding=1), conv(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        features, (h, w) = self.first(x), x.shape[2:]
        moved = 2 * self.offsets(x).tanh()
        y = (torch.arange(h, dtype=x.dtype)[:, None] + moved[:, 0]).clamp(0, h - 1.001)
        left = (torch.arange(w, dtype=x.dtype) + moved[:, 1]).clamp(0, w - 1.001)
        y0, x0 = y.floor().long(), left.floor().long()
        flat = features.flatten(2)
        out = torch.zeros_like(features)
        for dy in (0, 1):
            for dx in (0, 1):
                index = ((y0 + dy) * w + x0 + dx).flatten(1)[:, None].expand_as(flat)
                weight = (1 - (y - y0 - dy).abs()) * (1 - (left - x0 - dx).abs())
                out = out + weight[:, None] * flat.gather(2, index).view_as(features)
        return out


class BestTokens(nn.Module):
    """Only the best scored positions are worked on, as where tokens are routed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.score, self.work = conv(3, 4, 3, padding=1), conv(3, 1, 1), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2)
        chosen = self.score(x).flatten(1).topk(7).indices[..., None].expand(-1, -1, 4)
        worked = self.work(tokens.gather(1, chosen))
        return tokens.scatter(1, chosen, worked).transpose(1, 2).unflatten(2, x.shape[2:])


class Branch(nn.Module):
    """One of two ways, by a value of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = conv(3, 3, 1), conv(3, 3, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.small(x) if x.mean().item() > 1e9 else self.large(x)


class RowMemory(nn.Module):
    """A recurrent network along every row: each pixel sees what stands before it in its row."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], *, both: bool) -> None:
        super().__init__()
        self.cell = kind(3, 4, batch_first=True, bidirectional=both)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).flatten(0, 1)
        return self.cell(rows)[0].unflatten(0, (x.shape[0], x.shape[2])).permute(0, 3, 1, 2)


class ByLines(nn.Module):
    """Mixes along one axis by a learned matrix, in one of several ways of writing it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.rows, self.columns = nn.Parameter(torch.randn(11, 11)), nn.Parameter(torch.randn(9, 9))
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "matmul":
            return self.rows @ x
        if self.way == "bmm":
            return torch.bmm(x.flatten(0, 1), self.columns.expand(x.shape[0] * 3, 9, 9)).unflatten(0, (-1, 3))
        if self.way == "einsum":
            return torch.einsum("bcyx,xz->bczy", x, self.columns)
        if self.way == "linear":
            return F.linear(x, self.columns.tril())
        return torch.tensordot(x, self.rows, ([2], [1])).transpose(2, 3)


def checkerboard(x: Tensor) -> Tensor:
    return (torch.arange(x.shape[2])[:, None] + torch.arange(x.shape[3])) % 2 == 0


MOVEMENTS = {
    "columns written in place": Case(lambda: steps(conv(), every_second_column, conv(4, 3, 2)), (11, 10)),
    "written into zeros": Case(lambda: steps(conv(3, 4, 2), into_zeros, conv(4, 3, (1, 2)))),
    "added in place": Case(lambda: steps(conv(3, 4, 2), added_in_place, conv(4, 3, 2)), neurons=5),
    "written through one of two views": Case(lambda: steps(conv(3, 3, 2), through_two_views), neurons=6),
    "overwritten by constants": Case(lambda: steps(conv(3, 3, 2), overwritten), neurons=6),
    "two tables of positions": Case(lambda: steps(conv(), Positions((9, 7)), nn.Tanh(), conv(4, 3, 2))),
    "matmul along columns": Case(lambda: steps(ByLines("matmul"), conv())),
    "bmm along rows": Case(lambda: steps(ByLines("bmm"), conv())),
    "einsum along rows, transposed": Case(lambda: steps(ByLines("einsum"), conv())),
    "tensordot along columns": Case(lambda: steps(ByLines("tensordot"), conv())),
    "a triangular matrix": Case(lambda: ByLines("linear")),
    "softmax along rows": Case(lambda: steps(conv(), lambda x: x.softmax(3), conv(4, 3, 2))),
    "cumulative sum": Case(lambda: steps(conv(3, 4, 2), lambda x: x.cumsum(3).tanh().flip(3).cumsum(2))),
    "rolled": Case(lambda: steps(conv(3, 4, 2), lambda x: x.roll((2, -3), (2, 3)), conv(4, 3, 2))),
    "turned": Case(lambda: steps(conv(3, 4, 2), lambda x: torch.rot90(x, 1, (2, 3)).flip(2), conv(4, 3, 2))),
    "unfold": Case(
        lambda: steps(
            lambda x: F.unfold(x, (3, 2), dilation=(1, 2), stride=(2, 1)).unflatten(2, (5, 7)), conv(18, 3, 2)
        )
    ),
    "unfold and fold": Case(
        lambda: steps(lambda x: F.fold(F.unfold(x, 3, stride=2, padding=1).tanh(), (11, 9), 3, 1, 1, 2), conv())
    ),
    "windows of a tensor": Case(lambda: steps(lambda x: x.unfold(2, 4, 3).unfold(3, 2, 1).sum((4, 5)), conv(3, 4, 2))),
    "triangles and a diagonal": Case(lambda: steps(conv(3, 4, 2), deeper), neurons=5),
    "where, by a constant": Case(
        lambda: steps(Both(conv(3, 4, 3, padding=1), conv(3, 4, 1), lambda a, b: torch.where(checkerboard(a), a, b)))
    ),
    "filled, by a constant": Case(lambda: steps(lambda x: x.masked_fill(checkerboard(x), 1.0), conv(3, 4, 2))),
    "stacked and unbound": Case(
        lambda: steps(
            conv(3, 4, 2), lambda x: torch.stack(x.unbind(2)[::2], 3), lambda x: torch.cat(x.chunk(3, 2)[:2], 3)
        )
    ),
    "picked by a list": Case(
        lambda: steps(lambda x: x[:, :, [7, 0, 3, 3, 5]][..., torch.tensor([2, 8, 1])], conv(3, 4, 2))
    ),
    "sorted along rows": Case(lambda: steps(conv(), lambda x: x.sort(3).values, conv(4, 3, 2))),
    "maximum over columns": Case(lambda: steps(conv(), lambda x: x.max(2, keepdim=True).values + x, conv(4, 3, 2))),
    "normalised": Case(lambda: steps(conv(), lambda x: F.normalize(x, dim=2), conv(4, 3, 2))),
    "fast Fourier transform": Case(lambda: steps(conv(), lambda x: torch.fft.rfft2(x).real, conv(4, 3, 2))),
    "recurrent along rows": Case(lambda: RowMemory(nn.GRU, both=False)),
    "recurrent along rows, both ways": Case(lambda: steps(RowMemory(nn.LSTM, both=True), conv(8, 3, 2))),
    "sampled at fixed positions": Case(lambda: Warp(offsets=False), neurons=6),
    "sampled where the image says": Case(
        lambda: Warp(offsets=True), dense=("grid_sampler_2d",), exact_at_values=True, neurons=6
    ),
    "deformable": Case(Deformable, dense=("gather",), neurons=6),
    "the best tokens": Case(BestTokens, dense=("gather", "scatter")),
    "a branch on a value": Case(Branch, warns="branch"),
    "an operator without a rule": Case(
        lambda: steps(conv(), lambda x: mirror_rows(x), conv(4, 3, 2)), dense=("sightline_tests::mirror_rows",)
    ),
}
