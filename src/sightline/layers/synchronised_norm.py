"""Batch norm over the batches of all processes together: as if one process had the joined batch.

Forward, gradients and running statistics equal those of `nn.BatchNorm2d` over the joined batch (Ioffe and Szegedy,
2015, https://arxiv.org/abs/1502.03167), whatever part each process has. PyTorch's own refuses tensors on the CPU; this
one is a sum over processes that gradients go through, on any device. With n_r values per channel on process r, their
mean m_r and their mean squared distance from it v_r:

    m = sum_r n_r m_r / sum_r n_r        v = sum_r n_r (v_r + (m_r - m)^2) / sum_r n_r

Each process contributes (n_r, m_r, v_r) and not sums of squares, which would cancel where the mean is far from zero.
Where there is one process, it is `F.batch_norm`.

Left out: groups of processes, and a fused kernel: it reads the map a few times more than PyTorch's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.run.processes import add_up, processes

Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
KINDS: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SynchronisedNorm(nn.Module):
    """A batch norm over all processes, made from a plain one, whose parameters and buffers it takes over by name.

    Args:
        norm: What it replaces; it then owns the same tensors.
    """

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.kind = type(norm)
        self.num_features, self.eps, self.momentum = norm.num_features, norm.eps, norm.momentum
        self.affine, self.track_running_stats = norm.affine, norm.track_running_stats
        self.register_parameter("weight", norm.weight if norm.affine else None)
        self.register_parameter("bias", norm.bias if norm.affine else None)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        self.train(norm.training)

    def forward(self, x: Float[Tensor, "b c *p"]) -> Float[Tensor, "b c *p"]:
        """Normalise by the statistics of the joined batch in training, by the running ones in evaluation.

        Raises:
            ValueError: another number of channels.
        """
        if x.dim() < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"this norm was built for {self.num_features} channels, got shape {tuple(x.shape)}")
        if not (self.training or self.running_mean is None):
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        factor = self._count_batch()
        if processes().count == 1:
            mean, var = (self.running_mean, self.running_var) if factor is not None else (None, None)
            step = 0.0 if factor is None else factor
            return F.batch_norm(x, mean, var, self.weight, self.bias, True, step, self.eps)
        out, mean, var, amount = normalise_together(x, self.weight, self.bias, self.eps)
        if factor is not None and self.running_mean is not None and self.running_var is not None:
            unbiased = var.detach() * (amount / (amount - 1).clamp_min(1))
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach().to(self.running_mean), factor)
                self.running_var.lerp_(unbiased.to(self.running_var), factor)
        return out

    def _count_batch(self) -> float | None:
        """How far the running statistics move towards the batch's; None where there are none or they stand."""
        if self.running_mean is None or not self.training:
            return None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        """As PyTorch prints a batch norm."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"


def normalise_together(
    x: Float[Tensor, "b c *p"], weight: Float[Tensor, "c"] | None, bias: Float[Tensor, "c"] | None, eps: float
) -> tuple[Float[Tensor, "b c *p"], Float[Tensor, "c"], Float[Tensor, "c"], Float[Tensor, ""]]:
    """The joined batch's normalised part of this process, its mean and biased variance, and its values per channel."""
    me = processes()
    values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    var, mean = torch.var_mean(values, [0, *range(2, x.dim())], correction=0)
    mine = torch.cat([mean.new_full((1,), x.numel() // x.shape[1]), mean, var])
    table = torch.stack([mine if row == me.rank else torch.zeros_like(mine) for row in range(me.count)])
    n, means, variances = add_up(table).split([1, len(mean), len(mean)], 1)
    amount = n.sum()
    mean = (n * means).sum(0) / amount
    var = (n * (variances + (means - mean).square())).sum(0) / amount
    scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
    shift = -mean * scale if bias is None else bias - mean * scale
    shape = [1, -1, *[1] * (x.dim() - 2)]
    return torch.addcmul(shift.view(shape), values, scale.view(shape)).to(x.dtype), mean, var, amount


def synchronise_norms(network: nn.Module) -> nn.Module:
    """The network with every batch norm replaced by a synchronised one, in place; a batch norm itself comes back new.

    Names, parameters and buffers stay, so that optimisers and checkpoints fit before and after.
    """
    return _replace(network, KINDS, SynchronisedNorm)


def plain_norms(network: nn.Module) -> nn.Module:
    """Undo `synchronise_norms`."""
    return _replace(network, (SynchronisedNorm,), _as_plain)


def _as_plain(norm: SynchronisedNorm) -> nn.Module:
    with torch.device("meta"):  # the tensors come from the other one
        plain = norm.kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(plain, name, getattr(norm, name))
    return plain.train(norm.training)


def _replace(module: nn.Module, kinds: tuple[Any, ...], make: Any) -> nn.Module:
    done: dict[nn.Module, nn.Module] = {}  # a norm that stands in two places stays one

    def one(old: nn.Module) -> nn.Module:
        if type(old) in kinds:
            if old not in done:
                done[old] = make(old)
            return done[old]
        for name, child in old._modules.items():  # `named_children` would skip one that stands here twice
            if child is not None:
                setattr(old, name, one(child))
        return old

    return one(module)
