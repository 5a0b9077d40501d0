"""Simulations per CPU-second of a batched search in a learned model, beside the calls of its network alone.

    python benchmarks/search.py

A stand-in network (7 actions, embedding 64, layers 71-128-64 and heads), 64 simulations, 1, 32 and 256 roots, one
thread of PyTorch; both run in turn in one process. First its trees are checked against the same search of one root at a
time.
Writes results/search.md.
"""

import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sightline.planning.model import Step
from sightline.planning.search import search

ACTIONS, WIDTH, SIMULATIONS, TURNS = 7, 64, 64, 7
ROOTS = (1, 32, 256)
WANTED = 350_000  # simulations per CPU-second from 32 roots on, and at most twice the network's time


class Learned:
    """A network as a model: state and action -> state, reward, logits, value."""

    num_actions = ACTIONS

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(WIDTH + ACTIONS, 128), nn.ReLU(), nn.Linear(128, WIDTH), nn.Tanh())
        self.heads = nn.Linear(WIDTH, ACTIONS + 2)
        self.actions = torch.eye(ACTIONS)

    def root(self, observation: np.ndarray) -> Step:
        with torch.inference_mode():
            return self.told(torch.from_numpy(observation), 0.0, 1.0)

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        with torch.inference_mode():
            one = torch.cat([torch.from_numpy(state), self.actions[torch.from_numpy(action)]], 1)
            return self.told(self.body(one), 1.0, 0.997)

    def told(self, state: torch.Tensor, reward: float, discount: float) -> Step:
        heads = self.heads(state).numpy()
        full = np.full(len(heads), discount, np.float32)
        return Step(state.numpy(), reward * heads[:, ACTIONS], full, heads[:, :ACTIONS], heads[:, ACTIONS + 1])


def check(model: Learned) -> None:
    """Many roots at once grow the trees of one at a time, but for what a batch changes in the network's rounding."""
    seen = np.random.default_rng(1).normal(size=(8, WIDTH)).astype(np.float32)
    every = search(model, model.root(seen), rng=0, simulations=SIMULATIONS)
    alone = [search(model, model.root(seen[r : r + 1]), rng=0, simulations=SIMULATIONS) for r in range(8)]
    same = np.mean([(one.visits[0] == every.visits[r]).all() for r, one in enumerate(alone)])
    np.testing.assert_array_less(0.7, same)


def rates(model: Learned, roots: int, select: str) -> tuple[np.ndarray, np.ndarray]:
    """Simulations per CPU-second of the search and of its network's calls alone, of every turn."""
    seen = np.random.default_rng(0).normal(size=(roots, WIDTH)).astype(np.float32)
    root, action = model.root(seen), np.arange(roots) % ACTIONS
    repeats, found = max(2, 1024 // roots // 4), np.zeros((2, TURNS))
    rng = np.random.default_rng(0)
    for turn in range(TURNS):
        before = time.process_time()
        for _ in range(repeats):
            search(model, root, rng=turn, simulations=SIMULATIONS, select=select)  # type: ignore[arg-type]
        found[0, turn] = time.process_time() - before
        before = time.process_time()
        for _ in range(repeats * SIMULATIONS):
            model.step(seen, action, rng)
        found[1, turn] = time.process_time() - before
    per_turn = repeats * SIMULATIONS * roots / found
    return per_turn[0], per_turn[1]


def main() -> None:
    torch.set_num_threads(1)
    model = Learned()
    check(model)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    lines = [
        f"# Search in a learned model, {SIMULATIONS} simulations: thousands per CPU-second",
        "",
        "    python benchmarks/search.py",
        "",
        f"{platform.processor() or platform.machine()}, one thread, commit {commit}, median of {TURNS} turns [lowest, "
        f"highest]. Wanted from 32 roots on: {WANTED // 1000} k, and at most 2 times the network alone.",
        "",
        "| rule | roots | search | network alone | time, of the network's |",
        "|---|---:|---:|---:|---:|",
    ]
    for select in ("uct", "puct", "gumbel"):
        for roots in ROOTS:
            one, net = rates(model, roots, select)
            texts = [f"{np.median(x) / 1e3:.0f} [{x.min() / 1e3:.0f}, {x.max() / 1e3:.0f}]" for x in (one, net)]
            lines.append(f"| {select} | {roots} | {texts[0]} | {texts[1]} | {np.median(net / one):.2f} |")
    text = "\n".join([*lines, ""])
    (Path(__file__).parent / "results" / "search.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
