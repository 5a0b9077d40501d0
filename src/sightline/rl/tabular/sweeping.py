"""Prioritized sweeping: update first what would move most, then what leads there (Sutton & Barto, 2018, section 8.4;
Moore & Atkeson, 1993, https://doi.org/10.1007/BF00993104).

A pair (s, a) is the number s a_count + a. The queue is a binary heap with the place of every pair in it, so that a
priority can be raised; the pairs that lead to a state are a linked list, from which a pair is taken when its outcome
changes. Everything is O(log) or O(1), in arrays.

Left out: outcomes that are random.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sightline.planning.jit import compiled
from sightline.rl.tabular.tables import NEVER, best_of

NOWHERE = -1


class Queue(NamedTuple):
    """Who is to be updated, and who leads where."""

    heap: Int[np.ndarray, " pairs"]
    place: Int[np.ndarray, " pairs"]
    """Of every pair in the heap, -1 outside."""
    priority: Float[np.ndarray, " pairs"]
    size: Int[np.ndarray, "1"]
    first: Int[np.ndarray, " s"]
    """Of the pairs that lead to a state."""
    following: Int[np.ndarray, " pairs"]
    preceding: Int[np.ndarray, " pairs"]


def empty_queue(states: int, actions: int) -> Queue:
    """Nobody waits, nobody leads anywhere."""
    pairs = states * actions
    nowhere = np.full(pairs, NOWHERE, np.int64)
    return Queue(
        heap=np.zeros(pairs, np.int64), place=nowhere.copy(), priority=np.zeros(pairs), size=np.zeros(1, np.int64),
        first=np.full(states, NOWHERE, np.int64), following=nowhere.copy(), preceding=nowhere.copy(),
    )  # fmt: skip


@compiled
def _swap(queue: Any, i: int, j: int) -> None:
    heap, place = queue.heap, queue.place
    heap[i], heap[j] = heap[j], heap[i]
    place[heap[i]], place[heap[j]] = i, j


@compiled
def push(queue: Any, pair: int, priority: float) -> None:
    """Put a pair in, or raise its priority; a lower one than it has changes nothing."""
    i = queue.place[pair]
    if i == NOWHERE:
        i = queue.size[0]
        queue.size[0] += 1
        queue.heap[i], queue.place[pair] = pair, i
    elif priority <= queue.priority[pair]:
        return
    queue.priority[pair] = priority
    while i > 0 and queue.priority[queue.heap[(i - 1) // 2]] < priority:
        _swap(queue, i, (i - 1) // 2)
        i = (i - 1) // 2


@compiled
def pop(queue: Any) -> Any:
    """Take out the pair of the highest priority."""
    pair = queue.heap[0]
    last = queue.size[0] - 1
    _swap(queue, 0, last)
    queue.place[pair], queue.size[0] = NOWHERE, last
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            return pair
        if child + 1 < last and queue.priority[queue.heap[child + 1]] > queue.priority[queue.heap[child]]:
            child += 1
        if queue.priority[queue.heap[child]] <= queue.priority[queue.heap[i]]:
            return pair
        _swap(queue, i, child)
        i = child


@compiled
def lead(queue: Any, pair: int, before: int, to: int) -> None:
    """Note that a pair leads to a state, and no more to the one before (-1: it was never tried)."""
    if before == to:
        return
    ahead, behind = queue.preceding[pair], queue.following[pair]
    if before != NOWHERE:
        if ahead == NOWHERE:
            queue.first[before] = behind
        else:
            queue.following[ahead] = behind
        if behind != NOWHERE:
            queue.preceding[behind] = ahead
    old = queue.first[to]
    queue.first[to], queue.following[pair], queue.preceding[pair] = pair, old, NOWHERE
    if old != NOWHERE:
        queue.preceding[old] = pair


@compiled
def error(known: Any, s: int, a: int, gamma: float) -> Any:
    """How far a value is from what the model says."""
    target = known.reward[s, a]
    if not known.over[s, a]:
        target += gamma * best_of(known.q[known.next_state[s, a]])
    return target - known.q[s, a]


@compiled
def sweep(known: Any, queue: Any, n: int, alpha: float, gamma: float, theta: float, s: int, a: int) -> None:
    """After a real step from s by a: put it in the queue, then update up to n pairs."""
    actions = known.q.shape[1]
    gap = abs(error(known, s, a, gamma))
    if gap > theta:
        push(queue, s * actions + a, gap)
    for _ in range(n):
        if queue.size[0] == 0:
            return
        pair = pop(queue)
        here, action = pair // actions, pair % actions
        known.q[here, action] += alpha * error(known, here, action, gamma)
        known.counts[2] += 1
        one = queue.first[here]
        while one != NOWHERE:
            gap = abs(error(known, one // actions, one % actions, gamma))
            if gap > theta:
                push(queue, one, gap)
            one = queue.following[one]


@compiled
def note_way(known: Any, queue: Any, s: int, a: int, to: int) -> None:
    """Keep the lists of who leads where, before `tables.note` changes the model."""
    before = known.next_state[s, a] if known.tried[s, a] != NEVER else NOWHERE
    lead(queue, s * known.q.shape[1] + a, before, to)
