"""Returns against loops over single episodes, written from the book's definitions, and against hand-worked tables."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sightline.rl.returns import discounted_returns, finished, gae, lambda_returns, n_step_returns, next_values

F, T = False, True
SHAPES = [(1, 1), (1, 3), (7, 1), (2, 2), (13, 5), (40, 3)]


def column(*numbers: float) -> Tensor:
    kind = torch.bool if isinstance(numbers[0], bool) else torch.float64
    return torch.tensor(numbers, dtype=kind).unsqueeze(1)


def random_case(t: int, b: int, seed: int = 0, ends: float = 0.3, invalid: str = "none") -> dict[str, Tensor]:
    """Rows as a rollout gives them; `next_values` are the following row's value unless an episode was truncated."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    terminated = torch.rand(t, b, generator=generator) < ends / 2
    truncated = torch.rand(t, b, generator=generator) < ends / 2
    valid = torch.ones(t, b, dtype=torch.bool)
    if invalid == "anywhere":
        valid = torch.rand(t, b, generator=generator) < 0.7
    if invalid == "after ends":
        for i in range(b):
            for row in range(1, t):
                ended = bool(terminated[row - 1, i] | truncated[row - 1, i])
                valid[row, i] = not (ended and bool(valid[row - 1, i]))
                if not valid[row, i]:
                    terminated[row, i] = truncated[row, i] = False
        valid[0, 0] = t == 1 and b == 1  # an episode ended in the rollout before
    values = normal(t, b)
    following = next_values(values, normal(b), truncated, normal(t, b))
    rewards = normal(t, b)
    return {
        "rewards": rewards, "values": values, "next_values": following,
        "terminated": terminated, "truncated": truncated, "valid": valid,
    }  # fmt: skip


def pieces(case: dict[str, Tensor]) -> list[tuple[int, list[int], bool]]:
    """Cut every environment's rows into episodes: (environment, rows, whether the end was a termination)."""
    found = []
    t, b = case["rewards"].shape
    for i in range(b):
        rows: list[int] = []
        for row in range(t):
            if not case["valid"][row, i]:
                if rows:
                    found.append((i, rows, False))
                rows = []
                continue
            rows.append(row)
            if case["terminated"][row, i] or case["truncated"][row, i]:
                found.append((i, rows, bool(case["terminated"][row, i])))
                rows = []
        if rows:
            found.append((i, rows, False))
    return found


def n_step_by_hand(case: dict[str, Tensor], gamma: float, n: int) -> list[list[float]]:
    """Equation 7.1 for every row: n rewards, then the value of what the n-th transition led to."""
    t, b = case["rewards"].shape
    out = [[0.0] * b for _ in range(t)]
    for i, rows, terminal in pieces(case):
        for position, row in enumerate(rows):
            ahead = rows[position : position + n]
            total = sum(gamma**k * case["rewards"][r, i].item() for k, r in enumerate(ahead))
            reaches_the_end = ahead[-1] == rows[-1]
            if not (reaches_the_end and terminal):
                total += gamma ** len(ahead) * case["next_values"][ahead[-1], i].item()
            out[row][i] = total
    return out


def lambda_by_hand(case: dict[str, Tensor], gamma: float, lambda_: float) -> list[list[float]]:
    """Equation 12.3 and its truncated form 12.9: (1 - lambda) sum lambda^(n-1) G^(n) + lambda^(N-1) G^(N)."""
    t, b = case["rewards"].shape
    tables = [n_step_by_hand(case, gamma, n) for n in range(1, t + 1)]
    out = [[0.0] * b for _ in range(t)]
    for i, rows, _ in pieces(case):
        for position, row in enumerate(rows):
            last = len(rows) - position
            total = sum((1 - lambda_) * lambda_ ** (n - 1) * tables[n - 1][row][i] for n in range(1, last))
            out[row][i] = total + lambda_ ** (last - 1) * tables[last - 1][row][i]
    return out


def gae_by_hand(case: dict[str, Tensor], gamma: float, lambda_: float) -> list[list[float]]:
    """Equation 16: sum over l of (gamma lambda)^l delta_{t+l}, to the end of the episode's rows."""
    t, b = case["rewards"].shape
    out = [[0.0] * b for _ in range(t)]
    for i, rows, terminal in pieces(case):
        for position, row in enumerate(rows):
            total = 0.0
            for k, r in enumerate(rows[position:]):
                future = 0.0 if terminal and r == rows[-1] else gamma * case["next_values"][r, i].item()
                total += (gamma * lambda_) ** k * (case["rewards"][r, i].item() + future - case["values"][r, i].item())
            out[row][i] = total
    return out


def without(case: dict[str, Tensor], *names: str) -> dict[str, Any]:
    return {name: rows for name, rows in case.items() if name not in names}


def assert_equals_loop(found: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("invalid", ["none", "after ends", "anywhere"])
@pytest.mark.parametrize("seed", [0, 1])
def test_all_returns_equal_loops_over_episodes(shape, invalid, seed):
    case = random_case(*shape, seed=seed, invalid=invalid)
    for gamma, lambda_ in [(0.9, 0.8), (1.0, 1.0), (0.99, 0.0), (0.0, 0.5)]:
        assert_equals_loop(gae(**case, gamma=gamma, lambda_=lambda_), gae_by_hand(case, gamma, lambda_))
        given = without(case, "values")
        assert_equals_loop(lambda_returns(**given, gamma=gamma, lambda_=lambda_), lambda_by_hand(case, gamma, lambda_))
        assert_equals_loop(discounted_returns(**given, gamma=gamma), n_step_by_hand(case, gamma, shape[0]))
        for n in (1, 2, 3, 5, 100):
            assert_equals_loop(n_step_returns(**given, gamma=gamma, steps=n), n_step_by_hand(case, gamma, n))


def test_a_table_worked_by_hand():
    # One environment, gamma 1/2: two rows and a termination, two rows and a truncation (the true last observation is
    # worth 8), one row that the rollout cuts (what follows is worth 4).
    rewards, values = column(1.0, 2.0, 3.0, 4.0, 5.0), column(10.0, 20.0, 30.0, 40.0, 50.0)
    terminated, truncated = column(F, T, F, F, F), column(F, F, F, T, F)
    led_to = next_values(values, torch.tensor([4.0]).double(), truncated, column(math.nan, math.nan, math.nan, 8.0, 0))
    assert led_to.flatten().tolist() == [20.0, 30.0, 40.0, 8.0, 4.0]
    ends = {"terminated": terminated, "truncated": truncated, "gamma": 0.5}
    assert discounted_returns(rewards, **ends, next_values=led_to).flatten().tolist() == [2.0, 2.0, 7.0, 8.0, 7.0]
    assert discounted_returns(rewards, **ends).flatten().tolist() == [2.0, 2.0, 5.0, 4.0, 5.0]
    one = n_step_returns(rewards, led_to, **ends, steps=1)
    assert one.flatten().tolist() == [11.0, 2.0, 23.0, 8.0, 7.0]
    # deltas: 11 - 10, 2 - 20, 23 - 30, 8 - 40, 7 - 50; lambda 1/2 carries a quarter of the next row's.
    advantages = gae(rewards, values, led_to, **ends, lambda_=0.5)
    assert advantages.flatten().tolist() == [1 - 18 / 4, -18.0, -7 - 32 / 4, -32.0, -43.0]
    # G = r + (v' + G') / 4 within an episode: 1 + (20 + 2) / 4 and 3 + (40 + 8) / 4.
    returns = lambda_returns(rewards, led_to, **ends, lambda_=0.5)
    assert returns.flatten().tolist() == [6.5, 2.0, 15.0, 8.0, 7.0]


def test_where_a_row_terminated_and_was_truncated_it_terminated():
    rewards, values = column(1.0, 1.0), column(5.0, 5.0)
    got = gae(rewards, values, column(7.0, 7.0), column(T, F), column(T, F), gamma=1.0, lambda_=1.0)
    assert got.flatten().tolist() == [-4.0, 3.0]


@pytest.mark.parametrize("row", [0, 6])
@pytest.mark.parametrize("name", ["terminated", "truncated"])
def test_an_episode_that_ends_at_the_first_or_the_last_row(row, name):
    case = random_case(7, 2, ends=0.0)
    case[name][row] = True
    assert_equals_loop(gae(**case, gamma=0.9, lambda_=0.7), gae_by_hand(case, 0.9, 0.7))
    given = without(case, "values")
    assert_equals_loop(lambda_returns(**given, gamma=0.9, lambda_=0.7), lambda_by_hand(case, 0.9, 0.7))
    assert_equals_loop(n_step_returns(**given, gamma=0.9, steps=3), n_step_by_hand(case, 0.9, 3))


def test_closed_identities():
    case = random_case(23, 4)
    one_step = case["rewards"] + 0.9 * case["next_values"].where(~case["terminated"], 0.0)
    given = without(case, "values")
    torch.testing.assert_close(gae(**case, gamma=0.9, lambda_=0.0), one_step - case["values"])
    torch.testing.assert_close(lambda_returns(**given, gamma=0.9, lambda_=0.0), one_step)
    torch.testing.assert_close(n_step_returns(**given, gamma=0.9, steps=1), one_step)
    monte_carlo = discounted_returns(**given, gamma=0.9)
    torch.testing.assert_close(gae(**case, gamma=0.9, lambda_=1.0), monte_carlo - case["values"])
    torch.testing.assert_close(lambda_returns(**given, gamma=0.9, lambda_=1.0), monte_carlo)
    torch.testing.assert_close(n_step_returns(**given, gamma=0.9, steps=23), monte_carlo)
    for lambda_ in (0.0, 0.3, 0.95, 1.0):
        advantage = gae(**case, gamma=0.9, lambda_=lambda_)
        torch.testing.assert_close(
            advantage + case["values"], lambda_returns(**given, gamma=0.9, lambda_=lambda_), rtol=1e-12, atol=1e-12
        )
    constant = torch.full((200, 1), 1.0, dtype=torch.float64)  # the value of a reward of 1 for ever is 1 / (1 - gamma)
    never = torch.zeros(200, 1, dtype=torch.bool)
    torch.testing.assert_close(discounted_returns(constant, never, never, 10 * constant, gamma=0.9), 10 * constant)


def test_every_autoreset_mode_gives_the_same_advantages():
    # Two episodes, of 2 rows (truncated; last observation worth 9) and of 3 (terminated; worth whatever), values 1..5.
    r, v = [1.0, -1.0, 2.0, 0.5, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0]
    same_values = column(*v)
    truncated, terminated = column(F, T, F, F, F), column(F, F, F, F, T)
    same = gae(
        column(*r), same_values,
        next_values(same_values, torch.tensor([77.0]).double(), truncated, column(math.nan, 9.0, *[math.nan] * 3)),
        terminated, truncated, gamma=0.9, lambda_=0.8,
    )  # fmt: skip
    next_rows = column(*v[:2], 9.0, *v[2:], 77.0)  # the true last observation has a row of its own, the reset row
    nan = math.nan
    values = next_values(next_rows, torch.tensor([nan]).double())
    step = gae(
        column(*r[:2], nan, *r[2:], nan), next_rows, values, column(F, F, F, F, F, T, F), column(F, T, F, F, F, F, F),
        gamma=0.9, lambda_=0.8, valid=column(T, T, F, T, T, T, F),
    )  # fmt: skip
    assert step.flatten()[[2, 6]].tolist() == [0.0, 0.0]
    torch.testing.assert_close(step[[0, 1, 3, 4, 5]], same, rtol=0, atol=0)


@pytest.mark.parametrize("invalid", ["none", "after ends", "anywhere"])
def test_nothing_that_is_not_read_reaches_a_number_or_a_gradient(invalid):
    case = random_case(11, 3, seed=3, invalid=invalid)
    counts, given = case["valid"], without(case, "values")
    expected = gae(**case, gamma=0.9, lambda_=0.8), n_step_returns(**given, gamma=0.9, steps=3)
    for name in ("rewards", "values", "next_values"):
        case[name] = case[name].where(counts, math.nan)
    case["next_values"] = case["next_values"].where(~case["terminated"], math.nan)
    leaves = [case[name].requires_grad_() for name in ("rewards", "values", "next_values")]
    given = without(case, "values")
    found = gae(**case, gamma=0.9, lambda_=0.8), n_step_returns(**given, gamma=0.9, steps=3)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for gradient in torch.autograd.grad(found[0].sum() + found[1].sum(), leaves):
        assert gradient.isfinite().all()
        assert (gradient[~counts] == 0).all()


def test_monte_carlo_reads_values_only_where_the_future_is_cut_off():
    case = random_case(9, 2, ends=0.2, seed=5)
    cut = case["truncated"].clone()
    cut[-1] = True
    cut &= ~case["terminated"]
    sparse = {**without(case, "values"), "next_values": case["next_values"].where(cut, math.nan)}
    expected = discounted_returns(**without(case, "values"), gamma=0.9)
    torch.testing.assert_close(discounted_returns(**sparse, gamma=0.9), expected, rtol=0, atol=0)


def test_gradients_equal_finite_differences():
    case = random_case(6, 2, seed=2, invalid="after ends")
    names = ("rewards", "values", "next_values")
    leaves = tuple(case[name].clone().requires_grad_() for name in names)

    def advantages(*rows: Tensor) -> Tensor:
        return gae(**{**case, **dict(zip(names, rows, strict=True))}, gamma=0.9, lambda_=0.8)

    def returns(rewards: Tensor, _: Tensor, led_to: Tensor) -> Tensor:
        given = {**without(case, "values"), "rewards": rewards, "next_values": led_to}
        n_step = n_step_returns(**given, gamma=0.9, steps=2)
        return n_step + lambda_returns(**given, gamma=0.9, lambda_=0.8) + discounted_returns(**given, gamma=0.9)

    assert torch.autograd.gradcheck(advantages, leaves)
    assert torch.autograd.gradcheck(lambda r, n: returns(r, r, n), (leaves[0], leaves[2]))


@pytest.mark.parametrize("invalid", ["none", "after ends"])
def test_finished_rows_are_those_before_an_end(invalid):
    case = random_case(17, 4, invalid=invalid)
    if invalid != "none":
        case["valid"][-1] = False
        case["truncated"][-1] = True  # says nothing, as the row does not count
    expected = torch.zeros(17, 4, dtype=torch.bool)
    for i, rows, _ in pieces(case):
        if case["terminated"][rows[-1], i] or case["truncated"][rows[-1], i]:
            expected[rows, i] = True
    assert torch.equal(finished(case["terminated"], case["truncated"], case["valid"]), expected)
    everything = torch.ones(17, 4, dtype=torch.bool)
    got = finished(case["terminated"], case["truncated"])
    assert torch.equal(got, finished(case["terminated"], case["truncated"], everything))
    assert not finished(torch.zeros(3, 1, dtype=torch.bool), torch.zeros(3, 1, dtype=torch.bool)).any()


def test_inputs_are_left_as_they_were():
    case = random_case(5, 2, invalid="anywhere")
    before = {name: rows.clone() for name, rows in case.items()}
    gae(**case, gamma=0.9, lambda_=0.9)
    n_step_returns(**without(case, "values"), gamma=0.9, steps=3)
    discounted_returns(**without(case, "values"), gamma=0.9)
    assert all(torch.equal(case[name], before[name]) for name in case)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_one_sentence():
    case = random_case(4, 3)
    with pytest.raises(ValueError, match=r"rewards of \[4, 3\] with an array of \[3, 4\]: put time first"):
        gae(**{**case, "values": case["values"].T}, gamma=0.9, lambda_=0.9)
    with pytest.raises(ValueError, match=r"t at least 1, got rewards of \[0, 3\]"):
        gae(**{name: rows[:0] for name, rows in case.items()}, gamma=0.9, lambda_=0.9)
    with pytest.raises(ValueError, match=r"gamma lies in \[0, 1\], got 99"):
        gae(**case, gamma=99, lambda_=0.9)
    with pytest.raises(ValueError, match=r"^lambda lies in \[0, 1\], got -0.1"):
        gae(**case, gamma=0.9, lambda_=-0.1)
    with pytest.raises(ValueError, match="at least 1 step ahead, got steps 0"):
        n_step_returns(**without(case, "values"), gamma=0.9, steps=0)
    with pytest.raises(ValueError, match="final_values without truncated"):
        next_values(case["values"], case["values"][0], final_values=case["values"])
    with pytest.raises(ValueError, match="truncated without final_values"):
        next_values(case["values"], case["values"][0], case["truncated"])
