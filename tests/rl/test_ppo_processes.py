"""Two processes with half the environments each learn as one with all of them, and stay identical."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from tests.rl.counting import counting

from sightline.envs.catch import Catch
from sightline.envs.gymnasium import Vector
from sightline.rl.learner import Learner
from sightline.rl.policies import PolicySettings, make_policy
from sightline.rl.ppo import PPO, train
from sightline.run.processes import open_processes

SMALL = PPO(rollout=12, batch=16, epochs=3, learning_rate=1e-2, gamma=0.9, entropy_factor=0.01)
CASES: dict[str, tuple[str, str, dict[str, Any], PPO]] = {
    "numbers by hand": ("vector", "SameStep", {}, SMALL),
    "numbers by hand, normalised, reset rows": ("vector", "NextStep", {"normalise": True}, SMALL),
    "a row of each environment at a time": ("vector", "NextStep", {}, replace(SMALL, batch=4, epochs=1)),
    "shared": ("vector", "Disabled", {"shared": True, "normalise": True}, SMALL),
    "shared, reset rows": ("vector", "NextStep", {"shared": True}, replace(SMALL, batch=4, epochs=1)),
    "choices by hand": ("catch", "NextStep", {"shared": False}, SMALL),
    "parts and an image": ("dict", "NextStep", {"normalise": True}, SMALL),
    "a memory": ("vector", "SameStep", {"memory": 5}, replace(SMALL, batch=24)),
    "a memory of choices, reset rows": ("catch", "NextStep", {"memory": 5}, replace(SMALL, batch=12)),
    "stopped by its KL": ("vector", "NextStep", {}, replace(SMALL, batch=48, epochs=6, target_kl=2e-3)),
}


def three_updates(name: str, first: int, count: int) -> dict[str, np.ndarray]:
    kind, mode, settings, ppo = CASES[name]
    envs = Vector(Catch(), count, autoreset_mode=mode) if kind == "catch" else counting(mode, count, kind)
    normalise = {f"normalise_{what}": "normalise" in settings for what in ("observations", "rewards")}
    torch.manual_seed(1)
    options = PolicySettings(hidden=(8, 6), shared=settings.get("shared"), memory=settings.get("memory", 0))
    policy = make_policy(envs.single_observation_space, envs.single_action_space, options)
    rates: dict[str, Any] = {"gamma": ppo.gamma, "learning_rate": ppo.learning_rate}
    learner = Learner(policy, envs, rollout=ppo.rollout, seed=5, first=first, **rates, **normalise)
    rows = train(learner, ppo, 10**6)
    told = [next(rows) for _ in range(3)]
    numbers = [[v for k, v in row.items() if k != "steps_per_second"] for row in told]
    return {"weights": learner.flat.parameter.detach().numpy().copy(), "rows": np.array(numbers, np.float64)}


def half(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with open_processes():
        for i, name in enumerate(CASES):
            np.savez(Path(folder) / f"{i}-{rank}.npz", **three_updates(name, 2 * rank, 2))


def test_two_processes_learn_as_one_does(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(half, (port, str(tmp_path)), nprocs=2, start_method="fork")
    for i, name in enumerate(CASES):
        first, second = (dict(np.load(tmp_path / f"{i}-{rank}.npz")) for rank in (0, 1))
        np.testing.assert_array_equal(first["weights"], second["weights"], name)
        np.testing.assert_array_equal(first["rows"], second["rows"], name)
        whole = three_updates(name, 0, 4)
        np.testing.assert_allclose(first["weights"], whole["weights"], rtol=1e-3, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(first["rows"], whole["rows"], rtol=1e-3, atol=1e-4, err_msg=name)
