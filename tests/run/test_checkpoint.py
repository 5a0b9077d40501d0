"""Checkpoints: whole after a kill and on a full disk, every kind of state comes back, mistakes said in words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sightline.run import (
    has_checkpoint,
    load,
    load_checkpoint,
    save_checkpoint,
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_missing_checkpoint_is_said(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in "):
        load_checkpoint(tmp_path, nn.Linear(2, 3))
    with pytest.raises(FileNotFoundError, match=r"is no run folder: it has no config.json"):
        load(tmp_path)


def test_a_checkpoint_of_another_network_says_which_keys_differ(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, nn.Linear(2, 3), step=1)
    with pytest.raises(
        ValueError, match=r"is of another network: it lacks 0.bias, 0.weight; it has bias, weight besides"
    ):
        load_checkpoint(tmp_path, nn.Sequential(nn.Linear(2, 3)))
    other = nn.Linear(2, 4)
    before = other.weight.clone()
    with pytest.raises(ValueError, match=r"its bias is \[3\] where \[4\] is needed; its weight is \[3, 2\]"):
        load_checkpoint(tmp_path, other)
    assert torch.equal(before, other.weight)


def test_states_and_generators_must_be_those_that_were_saved(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    save_checkpoint(tmp_path, model, step=1, states={"optimizer": torch.optim.SGD(model.parameters(), lr=1.0)})
    with pytest.raises(ValueError, match="holds the states optimizer, and none were asked for"):
        load_checkpoint(tmp_path, model)
    with pytest.raises(ValueError, match="holds the generators none, and order were asked for"):
        load_checkpoint(
            tmp_path,
            model,
            states={"optimizer": torch.optim.SGD(model.parameters(), lr=1.0)},
            generators={"order": torch.Generator()},
        )
    one_parameter = torch.optim.SGD([model.weight], lr=1.0)
    with pytest.raises(ValueError, match="holds another 'optimizer'"):
        load_checkpoint(tmp_path, model, states={"optimizer": one_parameter})


def test_a_damaged_checkpoint_is_said(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, nn.Linear(2, 3), step=1)
    (tmp_path / "checkpoint" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"the checkpoint file .*weights.safetensors cannot be read"):
        load_checkpoint(tmp_path, nn.Linear(2, 3))


def test_state_that_json_cannot_say_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a checkpoint holds tensors, numbers and text, got a object at extra.x"):
        save_checkpoint(tmp_path, nn.Linear(2, 3), step=1, extra={"x": object()})
    assert files(tmp_path) == {}


def test_every_kind_of_state_comes_back(tmp_path: Path) -> None:
    class Holder:
        def __init__(self, state: dict[Any, Any]) -> None:
            self.state = state

        def state_dict(self) -> dict[Any, Any]:
            return self.state

        def load_state_dict(self, state_dict: dict[Any, Any]) -> None:
            self.state = state_dict

    tied = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    tied[1].weight = tied[0].weight
    state = {
        "tuple": (1, [2.5, None], "x"),
        3: {"$tensor": "a name like ours"},
        "infinite": float("inf"),
        "empty": torch.zeros(0, 4),
        "half": torch.rand(3).bfloat16(),
        "bool": torch.tensor([True, False]),
        "last": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "slice": torch.rand(6, 6)[::2, 1::2],
        "array": np.arange(3, dtype=np.uint32),
    }
    save_checkpoint(tmp_path, tied, step=0, states={"holder": Holder(state)})
    empty = Holder({})
    load_checkpoint(tmp_path, tied, states={"holder": empty})
    assert list(empty.state) == list(state)
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            assert empty.state[key].dtype == value.dtype
            assert torch.equal(empty.state[key], value)
        else:
            np.testing.assert_equal(empty.state[key], value)
    assert empty.state["last"].is_contiguous(memory_format=torch.channels_last)
    assert isinstance(empty.state["tuple"], tuple)


def test_names_with_dots_do_not_meet_in_the_table_of_tensors(tmp_path: Path) -> None:
    extra = {"a.b": torch.tensor(1.0), "a": {"b": torch.tensor(2.0)}, 1: torch.tensor(3.0), "1": torch.tensor(4.0)}
    save_checkpoint(tmp_path, nn.Linear(2, 3), step=1, extra=extra)
    back = load_checkpoint(tmp_path, nn.Linear(2, 3)).extra
    assert (back["a.b"], back["a"]["b"], back[1], back["1"]) == (1.0, 2.0, 3.0, 4.0)


def test_an_optimizer_that_does_not_fit_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    saved, model = nn.Linear(2, 3), nn.Linear(2, 3)
    save_checkpoint(tmp_path, saved, step=1, states={"optimizer": torch.optim.SGD(saved.parameters(), lr=1.0)})
    before = model.weight.clone()
    with pytest.raises(ValueError, match="holds another 'optimizer'"):
        load_checkpoint(tmp_path, model, states={"optimizer": torch.optim.SGD([model.weight], lr=1.0)})
    assert torch.equal(before, model.weight)


def test_a_network_of_another_type_is_another_network(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, nn.Linear(2, 3).double(), step=1)
    with pytest.raises(ValueError, match=r"its bias is torch.float64 where torch.float32 is needed"):
        load_checkpoint(tmp_path, nn.Linear(2, 3))
