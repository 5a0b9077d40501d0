"""The norm over two processes equals PyTorch's over the joined batch: forward, every gradient, running statistics."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from sightline.layers.synchronised_norm import SynchronisedNorm, plain_norms, synchronise_norms
from sightline.run.processes import open_processes


def batches(scale: float = 1.0, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(5, 4, 3, 2, generator=generator, dtype=torch.float64) * scale + shift
    return x, torch.randn(5, 4, 3, 2, generator=generator, dtype=torch.float64)


def norm(momentum: float | None = 0.1, affine: bool = True, stats: bool = True) -> nn.BatchNorm2d:
    torch.manual_seed(4)
    made = nn.BatchNorm2d(4, momentum=momentum, affine=affine, track_running_stats=stats).double()
    if affine:
        nn.init.normal_(made.weight)
        nn.init.normal_(made.bias)
    return made


CASES = {  # how the five images are split, and the norm's options
    "uneven": (1, {}),
    "mean of all batches": (2, {"momentum": None}),
    "no factors": (3, {"affine": False}),
    "no running statistics": (4, {"stats": False}),
}


def in_two_processes(rank: int, folder: str, port: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    out = {}
    with open_processes():
        for name, (first, options) in CASES.items():
            plain = norm(**options)
            together = synchronise_norms(nn.Sequential(plain))
            x, weights = (t[:first] if rank == 0 else t[first:] for t in batches())
            for _ in range(2):
                x = x.detach().requires_grad_()
                together.zero_grad()
                y = together(x)
                (y * weights).sum().backward()
            for parameter in together.parameters():
                assert parameter.grad is not None
                dist.all_reduce(parameter.grad)
            assert x.grad is not None
            out[name] = {"y": y.detach(), "x": x.grad, **{f"grad {n}": p.grad for n, p in together.named_parameters()}}
            out[name] |= together.state_dict()
            out[name]["evaluated"] = together.eval()(x).detach()
        far = synchronise_norms(nn.BatchNorm2d(4))  # float32, and means a thousand times the deviation
        x = batches(1.0, 1000.0)[0].float()
        out["far"] = {"y": far(x[:2] if rank == 0 else x[2:]).detach()}
        half = synchronise_norms(nn.BatchNorm2d(4))(x[2 * rank : 2 * rank + 2].bfloat16())
        out["half"] = {"y": half.detach()}
    torch.save(out, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(in_two_processes, (str(folder), port), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_the_joined_batch(name: str, parts: list[dict]) -> None:
    _, options = CASES[name]
    plain = nn.Sequential(norm(**options))
    x, weights = batches()
    for _ in range(2):
        x = x.detach().requires_grad_()
        plain.zero_grad()
        y = plain(x)
        (y * weights).sum().backward()
    mine, other = parts[0][name], parts[1][name]
    torch.testing.assert_close(torch.cat([mine["y"], other["y"]]), y.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([mine["x"], other["x"]]), x.grad, rtol=1e-11, atol=1e-12)
    for key, parameter in plain.named_parameters():
        torch.testing.assert_close(mine[f"grad {key}"], parameter.grad, rtol=1e-12, atol=1e-12)
    for key, value in plain.state_dict().items():
        for part in (mine, other):
            torch.testing.assert_close(part[key], value, rtol=1e-12, atol=1e-12)
    evaluated = torch.cat([mine["evaluated"], other["evaluated"]])
    torch.testing.assert_close(evaluated, plain.eval()(x).detach(), rtol=1e-12, atol=1e-12)


def test_means_far_from_zero_do_not_cancel(parts: list[dict]) -> None:
    x = batches(1.0, 1000.0)[0].float()
    exact = nn.BatchNorm2d(4).double()(x.double()).detach()
    joined = torch.cat([part["far"]["y"] for part in parts])
    plain = (nn.BatchNorm2d(4)(x).detach() - exact).abs().max()
    assert (joined - exact).abs().max() < max(2 * float(plain), 1e-3)


def test_half_precision_comes_back_as_it_went_in(parts: list[dict]) -> None:
    assert parts[0]["half"]["y"].dtype == torch.bfloat16


def test_alone_it_is_batch_norm_bit_for_bit() -> None:
    x, _ = batches()
    plain, own = norm(), SynchronisedNorm(norm())
    for _ in range(2):
        assert torch.equal(plain(x), own(x))
    assert torch.equal(plain.running_var, own.running_var)
    assert torch.equal(plain.eval()(x), own.eval()(x))


def test_there_and_back() -> None:
    shared = nn.BatchNorm2d(4)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(shared, shared), nn.BatchNorm1d(2).eval())
    before = dict(network.state_dict(keep_vars=True))
    together = synchronise_norms(network)
    assert together is network
    assert sum(isinstance(module, SynchronisedNorm) for module in network.modules()) == 2
    assert network[1][0] is network[1][1]
    there = network.state_dict(keep_vars=True)
    assert there.keys() == before.keys()
    assert all(there[key] is before[key] for key in before)  # an optimiser made before goes on
    plain_norms(network)
    assert [type(module) for module in network[1]] == [nn.BatchNorm2d, nn.BatchNorm2d]
    assert type(network[2]) is nn.BatchNorm1d
    assert not network[2].training
    back = network.state_dict(keep_vars=True)
    assert all(back[key] is before[key] for key in before)


def test_another_width_is_said(as_users_run_it: None) -> None:
    with pytest.raises(ValueError, match="built for 4 channels, got shape"):
        synchronise_norms(nn.BatchNorm2d(4))(torch.zeros(1, 3, 2, 2))


def test_checkpoints_fit_both_ways(tmp_path: Path) -> None:
    plain = nn.Sequential(norm())
    together = synchronise_norms(nn.Sequential(norm(momentum=0.5)))
    together.load_state_dict(plain.state_dict())
    plain.load_state_dict(together.state_dict())
