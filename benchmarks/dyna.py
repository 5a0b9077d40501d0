"""Dyna-Q's updates from memory per CPU-second in the Dyna maze: compiled, and the same algorithm with Python's lists.

    python benchmarks/dyna.py

Both run in turn in one process, one thread; first they are checked against each other: the same seed, the same values.
Real steps are inside. Writes results/dyna.md.
"""

import platform
import random
import time
from pathlib import Path

import numpy as np

from sightline.envs.maze import Maze
from sightline.planning.tabular import World, world_of
from sightline.rl.tabular.dyna import Dyna
from sightline.rl.tabular.lives import new_mind, walk

AGENT = Dyna(n=50, alpha=0.1)
TURNS = 7


def compiled(world: World, steps: int, seed: int) -> np.ndarray:
    """Values after so many real steps."""
    mind = new_mind(AGENT, world.states, world.actions)
    walk(mind, AGENT, world, np.random.default_rng(seed), steps=steps)
    return mind.known.q


def lists(world: World, steps: int, seed: int, draw: random.Random | None = None) -> np.ndarray:
    """The book's pseudo-code as a reader would write it, quick lists and no arrays."""
    number = (draw or np.random.default_rng(seed)).random
    to, gives, over = (one[..., 0].tolist() for one in (world.next_state, world.reward, world.over))
    q = [[0.0] * world.actions for _ in range(world.states)]
    tried: dict[int, set[int]] = {}
    known: list[int] = []
    start = int(world.start.argmax())

    def choose(s: int) -> int:
        if number() < AGENT.epsilon:
            return int(number() * world.actions)
        best = max(q[s])
        equal = [a for a, value in enumerate(q[s]) if value == best]
        return equal[0] if len(equal) == 1 else equal[int(number() * len(equal))]

    s, a = start, choose(start)
    for _ in range(steps):
        if s not in tried:
            known.append(s)
            tried[s] = set()
        tried[s].add(a)
        one, action = s, a  # the real step first
        for update in range(AGENT.n + 1):
            if update:
                pair = int(number() * (len(known) * world.actions))
                one, action = known[pair // world.actions], pair % world.actions
                while action not in tried[one]:
                    action = int(number() * world.actions)
            target = gives[one][action] + (0.0 if over[one][action] else AGENT.gamma * max(q[to[one][action]]))
            q[one][action] += AGENT.alpha * (target - q[one][action])
        s = start if over[s][a] else to[s][a]
        a = choose(s)
    return np.array(q)


def main() -> None:
    world = world_of(Maze())
    np.testing.assert_allclose(compiled(world, 500, 3), lists(world, 500, 3), rtol=1e-12, atol=1e-15)
    rates: dict[str, list[float]] = {"compiled": [], "lists": []}
    for turn in range(TURNS):
        for name, steps in (("compiled", 100_000), ("lists", 2_000)):
            before = time.process_time()
            if name == "compiled":
                compiled(world, steps, turn)
            else:
                lists(world, steps, turn, random.Random(turn))
            rates[name].append(steps * AGENT.n / (time.process_time() - before))
    middle = {name: float(np.median(each)) for name, each in rates.items()}
    lines = [
        "# Dyna-Q in the Dyna maze, n = 50: updates from memory per CPU-second, real steps included",
        "",
        "    python benchmarks/dyna.py",
        "",
        f"{platform.processor() or platform.machine()}, one thread, median of {TURNS} turns [lowest, highest].",
        "",
        "| | million updates a second | wanted |",
        "|---|---:|---:|",
    ]
    for name, wanted in (("compiled", "10"), ("lists", "")):
        each = rates[name]
        lines.append(f"| {name} | {middle[name] / 1e6:.2f} [{min(each) / 1e6:.2f}, {max(each) / 1e6:.2f}] | {wanted} |")
    lines.append(f"| ratio | {middle['compiled'] / middle['lists']:.0f} | |")
    text = "\n".join([*lines, ""])
    (Path(__file__).parent / "results" / "dyna.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
