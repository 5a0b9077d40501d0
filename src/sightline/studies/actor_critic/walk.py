"""A slippery walk with a goal, small enough that the gradient, its bias and its noise are all known.

Places 0 to n - 1 in a row, a wall on the left, the goal to the right of the last; each step goes where it was meant to,
or with some probability the other way, and costs 1; nothing is discounted. The policy is a softmax for each place.
With the matrix of transitions P and the values v = (I - P)^-1 r (Sutton & Barto, 2018, section 4.1), the gradient of
the start's value is the policy-gradient theorem's, exactly (section 13.2):

    dv(start) / dtheta = sum over s of visits(s) * sum over a of pi'(a | s) A(s, a)

A critic u that is not v makes advantages that are wrong in the mean, less so the larger lambda is. Of generalised
advantages (Schulman et al., 2016, https://arxiv.org/abs/1506.02438, equation 16) the mean is known as well: with the
errors delta(s, a) = r + u(s') - u(s) and their mean under the policy delta(s),

    A_lambda(s, a) = E[delta(s, a) + lambda w(s')],   w = (I - lambda P)^-1 delta

Left out: discounting, which would make the usual gradient (without gamma^t) no gradient.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sightline.rl.returns import gae

LEFT, RIGHT = range(2)
PLACES, START, SLIP = 8, 0, 0.2
EPISODES = 32  # that learn side by side


@dataclass(frozen=True)
class Walk:
    """The walk under one policy; arrays over places."""

    right: Float[np.ndarray, " n"]  # probability of meaning to go right

    @property
    def transitions(self) -> Float[np.ndarray, "n a m"]:
        """Where each action leads, the goal last."""
        places = len(self.right)
        found = np.zeros((places, 2, places + 1))
        for place in range(places):
            for action, meant, other in ((LEFT, -1, 1), (RIGHT, 1, -1)):
                found[place, action, max(place + meant, 0)] += 1 - SLIP
                found[place, action, max(place + other, 0)] += SLIP
        return found

    @property
    def chances(self) -> Float[np.ndarray, "n a"]:
        """The policy."""
        return np.stack([1 - self.right, self.right], 1)

    @property
    def chain(self) -> Float[np.ndarray, "n n"]:
        """From place to place under the policy, without the goal."""
        return np.einsum("na,nam->nm", self.chances, self.transitions)[:, :-1]

    def values(self) -> Float[np.ndarray, " n"]:
        """Exact values."""
        return np.linalg.solve(np.eye(len(self.right)) - self.chain, np.full(len(self.right), -1.0))

    def visits(self) -> Float[np.ndarray, " n"]:
        """How often each place is visited in an episode, in the mean."""
        begin = np.zeros(len(self.right))
        begin[START] = 1.0
        return np.linalg.solve(np.eye(len(self.right)) - self.chain.T, begin)

    def gradient(self, advantages: Float[np.ndarray, "n a"]) -> Float[np.ndarray, " n"]:
        """Of the start's value along each place's preference for right, if these are the advantages."""
        slope = self.right * (1 - self.right)
        return self.visits() * slope * (advantages[:, RIGHT] - advantages[:, LEFT])

    def advantages(self, critic: Float[np.ndarray, " n"], lambda_: float) -> Float[np.ndarray, "n a"]:
        """The exact mean of generalised advantages with this critic."""
        following = np.append(critic, 0.0)
        errors = -1 + self.transitions @ following - critic[:, None]
        mean = (self.chances * errors).sum(1)
        onward = np.linalg.solve(np.eye(len(self.right)) - lambda_ * self.chain, mean)
        return errors + lambda_ * (self.transitions @ np.append(onward, 0.0))

    def exact(self) -> Float[np.ndarray, " n"]:
        """The gradient itself."""
        return self.gradient(self.advantages(self.values(), 1.0))


def random_walk(seed: int) -> Walk:
    """A policy that prefers right, here more and there less."""
    preference = 0.8 + 0.5 * np.random.default_rng(seed).standard_normal(PLACES)
    return Walk(1 / (1 + np.exp(-preference)))


@dataclass(frozen=True)
class Played:
    """Episodes side by side from the start to the goal; rows after an end do not count."""

    place: Int[np.ndarray, "t e"]
    right: Bool[np.ndarray, "t e"]
    following: Int[np.ndarray, "t e"]
    alive: Bool[np.ndarray, "t e"]


def play(walk: Walk, episodes: int, rng: np.random.Generator) -> Played:
    """Play whole episodes."""
    places, place = len(walk.right), np.full(episodes, START)
    rows: list[tuple[np.ndarray, ...]] = []
    while (alive := place < places).any():
        here = np.minimum(place, places - 1)
        right = rng.random(episodes) < walk.right[here]
        moves = np.where(right ^ (rng.random(episodes) < SLIP), 1, -1)
        following = np.where(alive, np.maximum(here + moves, 0), place)
        rows.append((here, right, following, alive))
        place = following
    return Played(*(np.array(column) for column in zip(*rows, strict=True)))


def td_critic(walk: Walk, episodes: int, rate: float, seed: int) -> Float[np.ndarray, " n"]:
    """Values by TD(0) (Sutton & Barto, section 6.1), from 0, after so many episodes."""
    rng, values = np.random.default_rng(seed), np.zeros(len(walk.right) + 1)
    for _ in range(episodes):
        played = play(walk, 1, rng)
        for place, following in zip(played.place[:, 0], played.following[:, 0], strict=True):
            values[place] += rate * (-1 + values[following] - values[place])
    return values[:-1]


def weighed(played: Played, critic: Float[np.ndarray, " n"], lambda_: float) -> Float[np.ndarray, "t e"]:
    """Generalised advantages of every row, by `rl/returns.py`."""
    values = np.append(critic, 0.0)
    terminated = torch.from_numpy((played.following == len(critic)) & played.alive)
    rows = [-1.0 * played.alive, values[played.place], values[played.following]]
    reward, here, there = (torch.from_numpy(np.ascontiguousarray(one)) for one in rows)
    nothing, alive = torch.zeros_like(terminated), torch.from_numpy(played.alive)
    return gae(reward, here, there, terminated, nothing, gamma=1.0, lambda_=lambda_, valid=alive).numpy()


def estimates(walk: Walk, played: Played, weights: Float[np.ndarray, "t e"]) -> Float[np.ndarray, "e n"]:
    """Each episode's estimate of the gradient: the sum of its scores, each times its weight."""
    score = (played.right - walk.right[played.place]) * played.alive * weights
    found = np.zeros((played.place.shape[1], len(walk.right)))
    for place in range(len(walk.right)):
        found[:, place] = (score * (played.place == place)).sum(0)
    return found


def constant(played: Played, returns: Float[np.ndarray, "t e"], group: int) -> Float[np.ndarray, "t e"]:
    """For every episode the mean return over the rows of the others in its group."""
    total = (returns * played.alive).sum(0).reshape(-1, group)
    count = played.alive.sum(0).reshape(-1, group)
    others = (total.sum(1, keepdims=True) - total) / (count.sum(1, keepdims=True) - count)
    return np.broadcast_to(others.reshape(-1), returns.shape)
