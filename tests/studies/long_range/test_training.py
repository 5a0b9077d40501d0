"""Training goes down, stops at a word, and resumed ends bit for bit where it would have ended."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sightline.run import read_metrics
from sightline.studies.long_range.networks import RecallNetwork
from sightline.studies.long_range.training import Budget, Training, train

SMALL = Budget(steps=12, batch=4, width=16, squares=2, rows=2, columns=3, report_every=4, save_every=5, test_canvases=8)


def after(count: int) -> Callable[[], bool]:
    """A word that comes after so many steps."""
    calls = [0]

    def stop() -> bool:
        calls[0] += 1
        return calls[0] >= count

    return stop


@pytest.mark.parametrize("network", ["criss-cross R=2", "Vision Transformer"])
@pytest.mark.parametrize("at", [3, 10])
def test_a_resumed_training_equals_one_that_never_stopped(network: str, at: int, tmp_path: Path) -> None:
    training = Training("recall", 2, network, 3, SMALL)
    whole = train(training, tmp_path / "whole")
    assert train(training, tmp_path / "parts", stop=after(at)) is None
    torch.rand(5)  # whatever else draws in between
    resumed = train(training, tmp_path / "parts", resume=True)
    assert whole is not None
    assert resumed is not None
    assert [row["step"] for row in read_metrics(tmp_path / "whole" / training.folder)] == [4, 8, 12]
    for one, other in zip(
        read_metrics(tmp_path / "whole" / training.folder),
        read_metrics(tmp_path / "parts" / training.folder),
        strict=True,
    ):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_seeds_differ_and_repeat(tmp_path: Path) -> None:
    def weights(seed: int, folder: str) -> torch.Tensor:
        network = train(Training("recall", 2, "non-local", seed, replace(SMALL, steps=2)), tmp_path / folder)
        assert isinstance(network, RecallNetwork)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    first, again, other = weights(0, "a"), weights(0, "b"), weights(1, "c")
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not first.equal(other)


def test_a_short_training_goes_down(tmp_path: Path) -> None:
    budget = replace(SMALL, steps=150, batch=32, width=32, report_every=25, learning_rate=5e-3)
    training = Training("recall", 2, "non-local", 0, budget)
    train(training, tmp_path)
    losses = [row["loss"] for row in read_metrics(tmp_path / training.folder)]
    assert losses[-1] < 0.6 * losses[0]


def test_a_folder_with_a_training_is_not_overwritten(tmp_path: Path) -> None:
    training = Training("recall", 2, "non-local", 0, replace(SMALL, steps=1))
    train(training, tmp_path)
    with pytest.raises(FileExistsError, match=r"already holds a run: resume it \(--resume\)"):
        train(training, tmp_path)
