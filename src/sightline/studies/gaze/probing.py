"""Is what an agent looks at what it acts on? Each cell is erased in turn, and the action is asked for again.

Erasing paints a cell as what lies under it: floor inside, wall at the border. What happens to a floor cell then is
nothing, by definition, so that a random cell is an unfair comparison; the fair one is a random cell with something on
it. The agent's own cell is one of these, and without it nobody knows where they are, so that the comparison is made
without it as well. For every state all cells are erased, so that what a random one would do is known exactly.

A state is decisive if the policy gives its first choice at least `DECISIVE`: elsewhere a change of the first choice may
mean little. States come from whole episodes of the agent's drawn actions; as those of one episode are alike, intervals
come from drawing episodes with replacement.

Left out: erasing several cells at once, and inpainting with other things than the background.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from sightline.envs.box_world import AGENT, PALETTE, WALL, BoxWorld
from sightline.envs.environment import take
from sightline.play.gaze import gaze_of
from sightline.rl.policies.policy import Policy
from sightline.studies.gaze.planner import goals

DECISIVE = 0.9
ROWS = 2048  # images that are asked about at once
FAR = 70_000  # added to the seed of levels that are probed
KINDS = ("the agent itself", "what it needs next", "the key in hand", "other things", "empty cells")
CHOICES = ("most looked at", "random thing", "random cell", "least looked-at thing",
           "most looked-at thing but itself", "random thing but itself")  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """States of whole episodes, and what the agent saw, did and looked at."""

    image: UInt8[np.ndarray, "n h w 3"]
    episode: Int[np.ndarray, " n"]
    goal: Bool[np.ndarray, "n h w"]
    share: Float[np.ndarray, "n 4"]
    gaze: Float[np.ndarray, "n h w"]
    even: float
    solved: float


def play(policy: Policy, world: BoxWorld, episodes: int, limit: int, seed: int, *, looks: bool = True) -> Seen:
    """Whole episodes with drawn actions, all begun together, and the gaze in each state if asked."""
    levels = [np.random.default_rng([FAR + seed, i]) for i in range(episodes)]
    chance = np.random.default_rng([FAR + seed, episodes])
    state, image = world.reset(levels, episodes)
    live = np.arange(episodes)
    images, numbers, wanted, shares = [], [], [], []
    solved = 0
    for _ in range(limit):
        share = shares_of(policy, image)
        images.append(image)
        numbers.append(live)
        wanted.append(framed(goals(state)))
        shares.append(share)
        action = (share.cumsum(1) < chance.random((len(live), 1))).sum(1).clip(max=3)
        state, image, reward, over = world.step(state, action, levels)
        solved += int((reward > 1).sum())
        left = np.flatnonzero(~over)
        if not len(left):
            break
        state, image, live, levels = take(state, left), image[left], live[left], [levels[i] for i in left]
    every = np.concatenate(images)
    found = [gaze_of(policy.actor_body, torch.from_numpy(one[None])) for one in (every if looks else every[:1])]
    known = [look for look in found if look is not None]
    if len(known) < len(found):
        raise ValueError("this agent has no attention that could be placed on what it sees: probe one that attends")
    return Seen(
        every,
        np.concatenate(numbers),
        np.concatenate(wanted),
        np.concatenate(shares),
        np.stack([look.weights for look in known]) if looks else np.zeros(every.shape[:3]),
        known[0].even,
        solved / episodes,
    )


def shares_of(policy: Policy, image: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 4"]:
    """The probability of every action."""
    found = []
    with torch.no_grad():
        for start in range(0, len(image), ROWS):
            rows = policy.distribution(torch.from_numpy(np.ascontiguousarray(image[start : start + ROWS])))
            found.append(rows.log_probabilities.exp().numpy())  # type: ignore[attr-defined]
    return np.concatenate(found)


def framed(cells: Bool[np.ndarray, "b n n"]) -> Bool[np.ndarray, "b h w"]:
    """The room with its wall around it, where nothing is needed."""
    return np.pad(cells, ((0, 0), (1, 1), (1, 1)))


def background(world: BoxWorld) -> UInt8[np.ndarray, "h w 3"]:
    """What a room looks like with nothing in it."""
    side = world.size + 2
    room = np.full((side, side), WALL)
    room[1:-1, 1:-1] = 0
    return PALETTE[room]


def erased(seen: Seen, policy: Policy, world: BoxWorld) -> Float[np.ndarray, "n cells 4"]:
    """The probability of every action once a cell is erased, for every state and cell; unchanged where it was empty."""
    empty = background(world)
    n, h, w = seen.image.shape[:3]
    found = np.repeat(seen.share[:, None], h * w, 1)
    state, cell = np.nonzero(things(seen, world).reshape(n, -1))
    y, x = np.divmod(cell, w)
    for start in range(0, len(state), ROWS):
        some = slice(start, start + ROWS)
        image = seen.image[state[some]].copy()
        image[np.arange(len(image)), y[some], x[some]] = empty[y[some], x[some]]
        found[state[some], cell[some]] = shares_of(policy, image)
    return found


def things(seen: Seen, world: BoxWorld) -> Bool[np.ndarray, "n h w"]:
    """Where something is that erasing takes away."""
    return (seen.image != background(world)).any(3)


def selves(seen: Seen) -> Bool[np.ndarray, "n h w"]:
    """Where the agent is."""
    return (seen.image == PALETTE[AGENT]).all(3)


def kinds(seen: Seen, world: BoxWorld) -> Int[np.ndarray, "n h w"]:
    """Which of `KINDS` each cell is."""
    what, me = things(seen, world), selves(seen)
    hand = np.zeros_like(what)
    hand[:, 0, 0] = what[:, 0, 0]
    return np.select([me, seen.goal & ~me, hand, what], [0, 1, 2, 3], 4)


def probe(seen: Seen, policy: Policy, world: BoxWorld) -> dict[str, Any]:
    """What erasing does in each state, as lists over states.

    Returns:
        `episode` and `decisive` of each state; for each of `CHOICES` the chance that erasing that cell changes the
        first choice (0 or 1 where the cell is one, a mean over the cells where it is random, None where there is no
        such cell); `moved`, the total variation between the policies for the first two; and for each of `KINDS`
        its share of the gaze, the share that it would have if all cells were looked at alike, and how often it is
        looked at most.
    """
    n = len(seen.image)
    after = erased(seen, policy, world)
    changed = (after.argmax(2) != seen.share.argmax(1)[:, None]).astype(float)
    moved = np.abs(after - seen.share[:, None]).sum(2) / 2
    what, me = things(seen, world).reshape(n, -1), selves(seen).reshape(n, -1)
    gaze, kind = seen.gaze.reshape(n, -1), kinds(seen, world).reshape(n, -1)
    each = np.arange(n)

    def of_one(among: np.ndarray, sign: float) -> list[float | None]:
        best = np.where(among, sign * gaze, -np.inf).argmax(1)
        return [float(changed[i, best[i]]) if among[i].any() else None for i in each]

    def of_all(among: np.ndarray, values: np.ndarray) -> list[float | None]:
        return [round(float(values[i, among[i]].mean()), 4) if among[i].any() else None for i in each]

    every = np.ones_like(what)
    top = gaze.argmax(1)
    return {
        "episode": seen.episode.tolist(),
        "decisive": (seen.share.max(1) >= DECISIVE).tolist(),
        "changed": dict(
            zip(
                CHOICES,
                (
                    of_one(every, 1.0),
                    of_all(what, changed),
                    of_all(every, changed),
                    of_one(what, -1.0),
                    of_one(what & ~me, 1.0),
                    of_all(what & ~me, changed),
                ),
                strict=True,
            )
        ),
        "moved": [round(float(one), 4) for one in moved[each, top]],
        "moved_random_thing": of_all(what, moved),
        "gaze": {
            name: {
                "share": float((gaze * (kind == place)).sum(1).mean()),
                "even": float((kind == place).mean()),
                "first": float((kind[each, top] == place).mean()),
            }
            for place, name in enumerate(KINDS)
        },
        "solved": seen.solved,
    }


def one_episode(policy: Policy, world: BoxWorld, limit: int, seed: int, least: int, most: int) -> Seen | None:
    """The first solved episode of a fitting length, for the picture."""
    for number in range(seed + 1000, seed + 1100):
        seen = play(policy, world, 1, limit, number, looks=False)
        if seen.solved == 1 and least <= len(seen.image) <= most:
            return play(policy, world, 1, limit, number)
    return None


def interval(
    values: Sequence[float], groups: Sequence[int], draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """A mean over states, and the middle 95 % of the means over episodes drawn with replacement."""
    value, group = np.asarray(values, float), np.unique(np.asarray(groups), return_inverse=True)[1]
    sums, counts = np.bincount(group, value), np.bincount(group).astype(float)
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(value.mean()), float(low), float(high)
