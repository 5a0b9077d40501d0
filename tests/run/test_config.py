"""Objects by name: rebuilt from `config.json`, and a stranger's config runs nothing."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from sightline.ops.patterns import Pattern
from sightline.run import (
    describe,
    load,
    open_run,
    read_config,
    resolve,
    save_checkpoint,
)


def test_objects_are_rebuilt_by_name(tmp_path: Path) -> None:
    open_run(tmp_path, {"pattern": describe(Pattern, name="all", allows=Pattern), "sizes": (3, 4), "at": tmp_path})
    assert read_config(tmp_path)["pattern"]["object"] == "sightline.ops.patterns:Pattern"
    config = load(tmp_path)
    assert config == {"pattern": Pattern("all", Pattern), "sizes": (3, 4), "at": str(tmp_path)}  # type: ignore[arg-type]


def test_a_trained_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    open_run(tmp_path, {"model": describe(nn.Linear, in_features=2, out_features=3)})
    model = nn.Linear(2, 3)
    save_checkpoint(tmp_path, model, step=1)
    assert torch.equal(load(tmp_path, trust=True)["model"].weight, model.weight)
    with pytest.raises(ValueError, match=r"'torch.nn.modules.linear:Linear' lies outside sightline .* trust=True"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("os:system", "lies outside sightline and importing it runs its code"),
        ("sightline_evil:Thing", "lies outside sightline"),
        ("sightline.run.files:os.system", "is no class or model of sightline's own"),
        ("sightline.run.files:write_whole", "is no class or model of sightline's own"),
        ("sightline.nowhere:Thing", "there is no 'sightline.nowhere:Thing'"),
        ("sightline.ops.patterns:Patern", "there is no 'sightline.ops.patterns:Patern'"),
        ("Thing", "an object is named package.module:object, got 'Thing'"),
    ],
)
def test_a_strangers_config_runs_nothing(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model": {"object": name, "arguments": {}}}))
    with pytest.raises(ValueError, match=words):
        load(tmp_path)


def test_describe_checks_the_arguments() -> None:
    with pytest.raises(
        ValueError,
        match=r"patterns:Pattern cannot be built from these arguments: missing a required argument: 'allows'",
    ):
        describe(Pattern, name="x", allow=1)
    with pytest.raises(ValueError, match=r"a config holds .* got a Tensor in sightline.ops.patterns:Pattern"):
        describe(Pattern, name=torch.zeros(1), allows=None)
    with pytest.raises(ValueError, match="define it at the top of an importable module"):
        describe(lambda: 1)
    assert resolve("os:getcwd", trust=True) is os.getcwd
