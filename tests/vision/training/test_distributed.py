"""Two processes with half of every batch each do what one does with the whole: weights, average, scores and rows."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from tests.vision.training.made_up_training import AUGMENTATION, EVERYTHING, EVERYTHING_HARD, Halves, recipe, toy

from sightline.layers.synchronised_norm import SynchronisedNorm
from sightline.run import open_run, read_metrics
from sightline.run.processes import (
    add_up,
    add_up_gradients,
    by_the_first,
    greatest,
    open_processes,
    processes,
    same_everywhere,
    wait_for_all,
)
from sightline.vision.augmentation.prepare import Preparation
from sightline.vision.data.examples import Example
from sightline.vision.training.loop import Data, Every, fit
from sightline.vision.training.recipes import Losses, Recipe
from sightline.vision.training.scores import evaluate
from sightline.vision.training.train import Learner, train

RECIPES: dict[str, Recipe] = {
    "cross-entropy": recipe(losses=Losses(class_weights=(1.0, 3.0, 1.0))),
    "every loss, uneven parts": recipe(losses=EVERYTHING, accumulate=2, average=0.9, clip=0.5),
    "hard pixels": recipe(losses=EVERYTHING_HARD),
}


class Watched(Halves):
    """Remembers what was read, in this process."""

    @property
    def read(self) -> list[int]:
        return self.__dict__.setdefault("_read", [])

    def __getitem__(self, index: int) -> Example:
        self.read.append(index)
        return super().__getitem__(index)


def trained(rules: Recipe, different: bool = False) -> dict[str, torch.Tensor]:
    network = toy()
    if different:  # the first process's weights are everybody's
        torch.nn.init.zeros_(network.first.weight)
    made = Learner(network, rules, task="segment", classes=3)
    losses: list[torch.Tensor] = []
    for update in train(made, Halves(), AUGMENTATION):
        losses.append(add_up(torch.stack(list(update.losses.values()))))
    scores = evaluate(made, Halves(7), Preparation())
    out = {f"best {name}": value for name, value in made.best.state_dict().items()}
    return {
        **made.network.state_dict(),
        **out,
        "losses": torch.stack(losses),
        "score": torch.tensor(scores["mean_iou"]),
    }


def fitted(folder: Path, *, stop_at: int | None = None, resume: bool = False) -> bool:
    made = Learner(toy(), recipe(6, 5, average=0.9), task="segment", classes=3)
    if processes().writes:
        open_run(folder, {}, resume=resume)
    wait_for_all()
    asked = iter(range(7))
    return fit(
        made,
        Data(Halves(), AUGMENTATION, Halves(5)),
        folder,
        every=Every(3, 4, 2),
        stop=lambda: next(asked) == stop_at and processes().rank == 1,  # one process alone hears of Ctrl-C
    )


def fails() -> None:
    raise ValueError(f"said by {processes().rank}")


def in_two_processes(rank: int, folder: str, port: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    out: dict[str, Any] = {}
    with open_processes() as me:
        assert (me.rank, me.count, me.writes) == (rank, 2, rank == 0)
        out = {name: trained(rules, different=rank == 1) for name, rules in RECIPES.items()}
        assert any(
            isinstance(m, SynchronisedNorm)
            for m in Learner(toy(), recipe(), task="segment", classes=3).network.modules()
        )
        out["ended"] = [fitted(Path(folder) / "stopped", stop_at=1), fitted(Path(folder) / "stopped", resume=True)]
        watched = Watched(7)
        evaluate(Learner(toy(), recipe(), task="segment", classes=3), watched, Preparation())
        out["read"] = watched.read
        out["stopped"] = fitted(Path(folder) / "other", stop_at=1)
        out["sum"], out["max"] = add_up(torch.tensor(float(rank + 1))), greatest(torch.tensor([rank, -rank]))
        out["same"] = same_everywhere({"from": rank})
        out["first"] = by_the_first(lambda: processes().rank)
        try:
            by_the_first(fails)
        except (ValueError, SystemExit) as error:
            out["failed"] = f"{type(error).__name__} {error}"
        one_sided = torch.nn.Linear(1, 1)
        if rank == 0:
            one_sided(torch.ones(1)).sum().backward()
        frozen = torch.nn.Parameter(torch.ones(1))
        add_up_gradients([*one_sided.parameters(), frozen])
        out["one sided"], out["none"] = one_sided.weight.grad, frozen.grad is None
    torch.save(out, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(in_two_processes, (str(folder), port), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)], folder


@pytest.mark.parametrize("name", RECIPES)
def test_half_a_batch_each_equals_the_whole(name: str, parts: tuple[list[dict[str, Any]], Path]) -> None:
    alone = trained(RECIPES[name])
    for part in parts[0]:
        assert part[name].keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(part[name][key], value, rtol=1e-10, atol=1e-10)


def test_one_stop_stops_all_and_any_number_goes_on(parts: tuple[list[dict[str, Any]], Path], tmp_path: Path) -> None:
    both, folder = parts
    assert [part["ended"] for part in both] == [[False, True]] * 2
    assert [part["stopped"] for part in both] == [False, False]
    assert fitted(tmp_path / "whole")
    assert fitted(folder / "other", resume=True)  # two processes stopped, one goes on
    for name in ("stopped", "other"):
        mine, its = read_metrics(folder / name), read_metrics(tmp_path / "whole")
        assert [row["step"] for row in mine] == [row["step"] for row in its] == [3, 4, 6]
        for row, other in zip(mine, its, strict=True):
            assert row.keys() == other.keys()
            for key in row.keys() - {"seconds", "images_per_second"}:
                assert row[key] == (None if other[key] is None else pytest.approx(other[key], rel=1e-10))


def test_sums_over_processes(parts: tuple[list[dict[str, Any]], Path]) -> None:
    for part in parts[0]:
        assert part["sum"] == 3
        assert part["max"].tolist() == [1, 0]
        assert part["same"] == {"from": 0}
        assert part["first"] == 0
        assert part["one sided"].tolist() == [[1.0]]
        assert part["none"]


def test_a_failure_of_the_first_is_said_once(parts: tuple[list[dict[str, Any]], Path]) -> None:
    assert [part["failed"] for part in parts[0]] == ["ValueError said by 0", "SystemExit 2"]


def test_each_evaluates_its_share(parts: tuple[list[dict[str, Any]], Path]) -> None:
    assert [part["read"] for part in parts[0]] == [[0, 2, 4, 6], [1, 3, 5]]


def test_alone_nothing_is_done() -> None:
    value = torch.ones(2, requires_grad=True)
    assert add_up(value) is value
    assert greatest(value) is value
    with open_processes() as me:
        assert (me.rank, me.count) == (0, 1)


def test_a_half_set_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(ValueError, match="RANK, MASTER_ADDR, MASTER_PORT is not set: start them by torchrun"),
        open_processes(),
    ):
        pass


def test_the_losses_differ_between_the_recipes(parts: tuple[list[dict[str, Any]], Path]) -> None:
    said = [part["losses"] for name, part in parts[0][0].items() if name in RECIPES]
    assert not torch.allclose(said[1], said[2])  # hard pixels are fewer than all
    assert EVERYTHING.category > 0
