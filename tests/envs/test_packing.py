"""Plain data of every sort comes back as it was, anything else is named, and a file names no code to run."""

import json
import random
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv
from tests.envs.through_a_file import identical, through_a_file

from sightline.envs.states import cannot_save, restore_environment, save_environment, save_environments


class Colour(Enum):
    RED = 1
    BLUE = 2


class Place(NamedTuple):
    row: int
    column: np.float32


@dataclass(frozen=True)
class Piece:
    colour: Colour
    place: Place


class Everything(gymnasium.Env[Any, Any]):
    """Keeps plain data of every sort, and draws from each of its generators."""

    observation_space, action_space = Box(-np.inf, np.inf, (3,)), Discrete(2)

    def __init__(self) -> None:
        self.board = np.zeros((4, 3), dtype=np.float32)
        self.row = self.board[1]  # a view
        self.pieces = [Piece(Colour.RED, Place(0, np.float32(0.1)))]
        self.carried = self.pieces[0]  # the same object
        self.notes: dict[Any, Any] = {(1, 2): b"bytes", 3: {4, 5}, None: frozenset({6})}
        self.notes["myself"] = self.notes
        self.kinds = (OrderedDict(a=1), defaultdict(list, {"b": [1]}), deque([1, 2], maxlen=2), np.int16(3))
        self.legacy, self.pythons = np.random.RandomState(0), random.Random(0)
        self.infinite = [np.inf, -0.0, np.nan]
        self.columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        self.column, self.bits = self.columns[:, 2], self.board.view(np.uint32)[::-1]
        self.act, self.me = self.step, self
        self.clock: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.board[:] = 0
        return self.row.copy(), {}

    def step(self, action: Any) -> Any:
        drawn = [self.np_random.random(), self.legacy.rand(), self.pythons.random()]
        self.board[1] += np.array(drawn, dtype=np.float32)
        self.pieces.append(Piece(Colour.BLUE, Place(action, np.float32(drawn[0]))))
        self.carried = self.pieces[-1]
        self.kinds[1]["c"].append(action)
        self.kinds[2].append(action)
        return self.row.copy(), drawn[1], False, False, {"spawned": self.np_random.spawn(1)[0].random()}


def test_plain_data_of_every_sort_comes_back_as_it_was() -> None:
    env = Everything()
    env.reset(seed=0)
    for _ in range(5):
        env.step(1)
    state = through_a_file(save_environment(env))
    expected = [env.step(0) for _ in range(5)]
    other = Everything()
    restore_environment(other, state)
    assert other.carried is other.pieces[-1]
    assert other.notes["myself"] is other.notes
    assert np.shares_memory(other.row, other.board)
    assert np.shares_memory(other.column, other.columns)
    assert other.column.tolist() == [2, 5]
    other.columns[1, 2], other.board[0, 1] = 7, -0.0
    assert (other.column[1], other.bits[3, 1]) == (7, 1 << 31)
    assert other.columns.flags.f_contiguous
    assert not other.columns.flags.c_contiguous
    assert [type(one) for one in other.kinds] == [type(one) for one in env.kinds]
    assert other.kinds[2].maxlen == 2
    assert (other.notes[1, 2], other.notes[3], other.notes[None]) == (b"bytes", {4, 5}, frozenset({6}))
    assert other.pieces[0] == Piece(Colour.RED, Place(0, np.float32(0.1)))
    assert type(other.pieces[0].place) is Place
    assert type(other.pieces[0].place.column) is np.float32
    assert str(other.infinite) == "[inf, -0.0, nan]"
    assert other.me is other
    assert other.act.__self__ is other
    assert identical([other.act(0) for _ in range(5)], expected)


class Slotted:
    """What it keeps is in no attribute dictionary alone."""

    __slots__ = ("__dict__", "kept")


def counted() -> Any:
    seen = [0]
    return lambda: seen.append(1)


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("clock", iter([1, 2]), "clock is a builtins list_iterator"),
        ("notes", {"file": [open]}, None),  # a constant
        ("notes", {"file": [iter("ab")]}, r"notes\['file'\]\[0\] is a builtins str_\w*iterator"),
        ("clock", np.array([object()]), "clock is a numpy ndarray"),
        ("clock", counted(), "clock is a builtins function"),  # what it has counted is nowhere to be seen
        ("clock", [].append, "clock is a builtins builtin_function_or_method"),
        ("clock", Slotted(), "clock is a tests.envs.test_packing Slotted, which is neither"),
        ("clock", json.JSONDecoder(), "clock is a json.decoder JSONDecoder"),
    ],
)
def test_what_is_neither_plain_nor_constant_is_named(attribute: str, value: Any, said: str | None) -> None:
    def make_one() -> Everything:
        env = Everything()
        setattr(env, attribute, value)
        return env

    envs = SyncVectorEnv([make_one])
    if said is None:
        assert cannot_save(envs) is None
        return
    sentence = f"Everything cannot be saved: its attribute {said}.*methods get_state.. and set_state.state. of its own"
    with pytest.raises(ValueError, match=sentence):
        save_environments(envs)
    with pytest.raises(ValueError, match=sentence):
        save_environment(envs.envs[0])
    assert str(cannot_save(envs)).startswith("Everything cannot be saved: its attribute ")


class Answering(Everything):
    def __init__(self) -> None:
        super().__init__()
        self.clock = iter("ab")

    def get_state(self) -> Any:
        return {"board": self.board.copy()}

    def set_state(self, state: Any) -> None:
        self.board[:] = state["board"]


def test_what_was_kept_only_since_is_gone_again() -> None:
    env = Everything()
    state = save_environment(env)
    env.later = 1  # type: ignore[attr-defined]
    restore_environment(env, state)
    assert not hasattr(env, "later")


def test_how_it_is_drawn_is_no_state_but_shapes_that_move_are() -> None:
    pygame = pytest.importorskip("pygame")
    env = Everything()
    env.reset(seed=0)
    for drawing in (pygame.Surface((2, 2)), pygame.time.Clock()):
        env.clock = drawing
        other = Everything()
        restore_environment(other, through_a_file(save_environment(env)))
        assert other.clock is None
    env.clock = pygame.Rect(0, 0, 1, 1)
    with pytest.raises(ValueError, match=r"its attribute clock is a pygame.* Rect, which is neither plain data nor"):
        save_environment(env)


def test_an_environment_may_answer_for_itself() -> None:
    env = Answering()
    env.reset(seed=0)
    env.step(0)
    other = Answering()
    restore_environment(other, through_a_file(save_environment(env)))
    assert np.array_equal(other.board, env.board)
    assert other.board.any()


def test_a_file_names_no_code_to_run() -> None:
    env = Everything()
    state = save_environment(env)
    for form in (["object", "subprocess:Popen", []], ["enum", "os:environ", "HOME"], ["named", "os:system", "true"]):
        state["values"][0]["attributes"]["clock"] = form
        with pytest.raises(ValueError, match=r"clock of the saved environment is a .*, which belongs to no package"):
            restore_environment(env, state)
    state["values"][0]["attributes"]["clock"] = ["magic"]
    with pytest.raises(ValueError, match="begins with 'magic', which this version does not know"):
        restore_environment(env, state)
