"""Box-World once more, in plain Python on text, and a search that solves a level."""

from collections import deque
from typing import NamedTuple

import numpy as np

from sightline.envs.box_world_levels import Level

GEM = 21
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class Room(NamedTuple):
    """Everything, hashable: loose things by place, boxes by the place of their lock."""

    agent: tuple[int, int]
    held: int
    loose: frozenset[tuple[tuple[int, int], int]]
    boxes: frozenset[tuple[tuple[int, int], int, int, int]]  # place of the lock, its colour, sign, content


def room_of(level: Level) -> Room:
    loose, boxes = set(), set()
    for y, x in np.argwhere(level.cells).tolist():
        if level.locks[y, x]:
            content = int(level.cells[y, x - 1])
            boxes.add(((y, x), int(level.cells[y, x]), int(level.locks[y, x]), content))
        elif x + 1 == level.cells.shape[1] or not level.locks[y, x + 1]:
            loose.add(((y, x), int(level.cells[y, x])))
    return Room(tuple(level.agent.tolist()), 0, frozenset(loose), frozenset(boxes))


def walk(room: Room, action: int, size: int) -> tuple[Room, float, bool]:
    """One step by the paper's rules."""
    y, x = room.agent[0] + MOVES[action][0], room.agent[1] + MOVES[action][1]
    if not (0 <= y < size and 0 <= x < size):
        return room, 0.0, False
    for box in room.boxes:
        place, colour, sign, content = box
        if place == (y, x):
            if room.held != colour:
                return room, 0.0, False
            inside = ((y, x - 1), content)
            return Room((y, x), 0, room.loose | {inside}, room.boxes - {box}), float(sign), sign < 0
        if (place[0], place[1] - 1) == (y, x):
            return room, 0.0, False
    for thing in room.loose:
        if thing[0] == (y, x):
            gem = thing[1] == GEM
            return Room((y, x), thing[1], room.loose - {thing}, room.boxes), 10.0 * gem, gem
    return room._replace(agent=(y, x)), 0.0, False


def solve(level: Level) -> tuple[list[int], float] | None:
    """The shortest actions to the gem and their return, by breadth-first search; None where there is no way."""
    size, start = len(level.cells), room_of(level)
    came: dict[Room, tuple[Room, int, float] | None] = {start: None}
    queue = deque([start])
    while queue:
        room = queue.popleft()
        for action in range(4):
            after, reward, over = walk(room, action, size)
            if after in came:
                continue
            came[after] = (room, action, reward)
            if over and reward > 0:
                actions, total, at = [], 0.0, came[after]
                while at is not None:
                    actions.append(at[1])
                    total += at[2]
                    at = came[at[0]]
                return actions[::-1], total
            if not over:
                queue.append(after)
    return None
