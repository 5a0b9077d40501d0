"""REINFORCE: Williams (1992), https://doi.org/10.1007/BF00992696; Sutton & Barto (2018), sections 13.3 and 13.4.

Act for whole episodes, then take one step along the mean over them of sum_t gamma^t (G_t - b) grad log pi(a_t|s_t).
Its expectation is the gradient of the expected return, whatever the baseline b, if two things are right:

- every episode was acted by the policy that learns from it: each update begins with new episodes everywhere;
- which episodes are used does not depend on how they went: the first `episodes` of every environment, however long they
  take. Those that happen to end within a number of steps would be the short ones. What environments do while they wait
  for the slowest is counted among the steps and not learned from; more episodes to an update make that a smaller part.

Baselines: "none"; "constant", the mean return of all rows of the *other* episodes of the update (with its own among
them an episode would pull its baseline along, a bias of 1/n); "value", learned, as it was before the update.

An episode that was truncated is followed by the value of its last observation where values are learned; without them
its return ends at the limit, and what is learned is the return up to there. Where rewards or observations are
normalised, what is known grows from rollout to rollout, within an update too.

In a row, `return_mean` looks back at all episodes that ended, used or not; `return_used` at those of this update alone,
with their rewards as learned from.

Left out: learning within an episode (`a2c.py`), and episodes that never end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.rl.advantages import normalised_everywhere
from sightline.rl.learner import CHUNK, Experience, Learner, falling, read, rows_of
from sightline.rl.losses import entropy_bonus, policy_gradient_loss, value_loss
from sightline.rl.policies.memory import Past
from sightline.rl.policies.policy import Policy
from sightline.rl.returns import discounted_returns
from sightline.rl.trees import map_arrays
from sightline.run.processes import add_up, greatest, processes

BASELINES = ("none", "constant", "value")
STATISTICS = ("policy_loss", "value_loss", "entropy")


@dataclass(frozen=True)
class Reinforce:
    """Settings of REINFORCE."""

    rollout: int = 32
    """Steps of every environment after which it is looked whether all episodes of the update have ended."""
    episodes: int = 2
    """Episodes of every environment in an update."""
    baseline: str = "value"
    """What returns are compared with: none, constant or value."""
    learning_rate: float = 1e-2
    """Of Adam."""
    learning_rate_end: float = 1.0
    """Factor of the learning rate that is left at the end; it falls linearly. 1: constant."""
    gamma: float = 0.99
    """The discount."""
    discount_state: bool = False
    """Whether step t of an episode counts gamma^t, as the gradient of the discounted return has it. Few do so."""
    value_factor: float = 0.5
    """Of the value's loss, with baseline value."""
    entropy_factor: float = 0.0
    """Of the entropy bonus."""
    gradient_clip: float = 0.0
    """Largest norm of a gradient; 0: any."""
    normalise: bool = False
    """Whether returns less their baseline are brought to mean 0 and deviation 1; it costs a bias of 1/n."""
    patience: int = 100_000
    """Steps of every environment within which its episodes of one update must end."""


def loss(
    policy: Policy, rows: dict[str, Any], reinforce: Reinforce, episodes: int
) -> tuple[Float[Tensor, ""], Float[Tensor, "statistics"]]:
    """The loss of some rows of an update, and the sums over them of what `STATISTICS` names.

    Args:
        policy: that acted.
        rows: as `rows_of` gives them, with "advantage" and "target", what the values should have been.
        reinforce: the settings.
        episodes: that all rows of the update come from; the losses of its parts add up to a mean over them.
    """
    distribution, values, rows = read(policy, rows)
    gain = policy_gradient_loss(policy.log_prob(distribution, rows["action"]), rows["advantage"])
    value, entropy = value_loss(values, rows["target"]), entropy_bonus(distribution.entropy())
    total = gain - reinforce.entropy_factor * entropy
    if reinforce.baseline == "value":
        total = total + reinforce.value_factor * value
    count = len(values)
    return total * (count / episodes), torch.stack([gain, value, entropy]).detach().double() * count


def train(learner: Learner, reinforce: Reinforce, steps: int) -> Iterator[dict[str, float | int]]:
    """Learn until so many steps were taken; a row per update, which is made with whole episodes beyond them too.

    Raises:
        ValueError: settings that cannot be, or episodes that do not end.
    """
    total = reinforce.episodes * learner.envs.num_envs * processes().count
    _check(reinforce, total)
    while learner.steps < steps:
        left = 1 - learner.steps / steps
        learner.set_rate(falling(reinforce.learning_rate, reinforce.learning_rate_end, left))
        seen, used = collect_episodes(learner, reinforce)
        advantages, targets = advantages_of(seen, used, reinforce)
        seen = replace(seen, valid=used)
        sums = torch.zeros(len(STATISTICS), dtype=torch.float64, device=learner.device)
        for some in _parts(seen, used):
            rows = rows_of(seen, some, advantage=advantages, target=targets)
            part, statistics = loss(learner.policy, rows, reinforce, total)
            part.backward()
            sums += statistics
        learner.step(reinforce.gradient_clip or None)
        reward = seen.reward.double()[used].sum()
        *means, count, reward_sum = add_up(torch.stack([*sums, used.sum().to(sums), reward]).cpu()).tolist()
        losses = {name: one / count for name, one in zip(STATISTICS, means, strict=True)}
        yield learner.row({**losses, "episodes": total, "return_used": reward_sum / total})


def collect_episodes(learner: Learner, reinforce: Reinforce) -> tuple[Experience, Bool[Tensor, "t b"]]:
    """Begin anew everywhere and act until every environment has finished its episodes, in all processes.

    Returns:
        All rollouts as one, and its rows that belong to the first episodes of each environment.

    Raises:
        ValueError: some episodes do not end.
    """
    if learner.collector.done:  # the very first episodes begin by themselves, with a seed
        learner.restart()
    pieces: list[Experience] = []
    ends, waiting = torch.zeros(learner.envs.num_envs, dtype=torch.long), 1
    while waiting:
        if len(pieces) * learner.collector.steps >= reinforce.patience:
            raise ValueError(
                f"REINFORCE learns from whole episodes, and after {len(pieces) * learner.collector.steps} steps an "
                f"environment has not finished {reinforce.episodes}: limit them (max_episode_steps), raise --patience, "
                "or use a2c"
            )
        piece = learner.collect()
        # The next rollout writes over observations and actions.
        kept = {"observation": map_arrays(torch.clone, piece.observation), "action": piece.action.clone()}
        pieces.append(replace(piece, **kept))
        ends += _ended(piece).sum(0).cpu()
        waiting = int(greatest((ends < reinforce.episodes).sum()))
    seen = _joined(pieces)
    used = _ended_before(seen) < reinforce.episodes
    return seen, used if seen.valid is None else used & seen.valid


def advantages_of(
    seen: Experience, used: Bool[Tensor, "t b"], reinforce: Reinforce
) -> tuple[Float[Tensor, "t b"], Float[Tensor, "t b"]]:
    """What each row's log-probability is multiplied by, and its return; of whole episodes alone they mean anything."""
    returns = discounted_returns(
        seen.reward,
        seen.terminated,
        seen.truncated,
        seen.next_values if reinforce.baseline == "value" else None,
        gamma=reinforce.gamma,
        valid=seen.valid,
    )
    advantages = returns
    if reinforce.baseline == "value":
        advantages = returns - seen.values
    elif reinforce.baseline == "constant":
        advantages = returns - _mean_of_others(returns, used, _ended_before(seen), reinforce.episodes)
    if reinforce.normalise:
        advantages = normalised_everywhere(advantages, used)
    if reinforce.discount_state:
        advantages = advantages * reinforce.gamma ** steps_into_episode(seen).to(advantages.dtype)
    return advantages, returns


def steps_into_episode(seen: Experience) -> Int[Tensor, "t b"]:
    """How many steps of its episode came before each row that counts; the first row begins one."""
    valid = torch.ones_like(seen.terminated) if seen.valid is None else seen.valid
    taken = valid.cumsum(0)  # this step among them
    at_end = taken * _ended(seen)
    earlier = torch.cat([torch.zeros_like(at_end[:1]), at_end[:-1]]).cummax(0).values
    return taken - 1 - earlier


def _mean_of_others(
    returns: Float[Tensor, "t b"], used: Bool[Tensor, "t b"], before: Int[Tensor, "t b"], episodes: int
) -> Float[Tensor, "t b"]:
    """For every row that is used, the mean return of the rows of all other episodes, those of other processes too."""
    kept = returns.double().masked_fill(~used, 0.0)
    total, count = add_up(torch.stack([kept.sum(), used.sum().double()]))
    mean = torch.zeros_like(kept)
    for episode in range(episodes):
        own = used & (before == episode)
        others = (total - (kept * own).sum(0)) / (count - own.sum(0))
        mean = torch.where(own, others, mean)
    return mean.to(returns.dtype)


def _parts(seen: Experience, used: Bool[Tensor, "t b"]) -> Iterator[Tensor]:
    """Indices of rows, so many at a time: of those that are used, or for a memory of whole environments."""
    if seen.past is None:
        yield from used.flatten().nonzero().squeeze(1).split(CHUNK)
        return
    steps, count = used.shape
    each = torch.arange(steps * count, device=used.device).unflatten(0, (steps, count))
    yield from (some.flatten() for some in each.split(max(CHUNK // steps, 1), 1))


def _ended(seen: Experience) -> Bool[Tensor, "t b"]:
    ended = seen.terminated | seen.truncated
    return ended if seen.valid is None else ended & seen.valid


def _ended_before(seen: Experience) -> Int[Tensor, "t b"]:
    """How many episodes of its environment had ended before each row."""
    ended = _ended(seen).long()
    return ended.cumsum(0) - ended


def _joined(pieces: list[Experience]) -> Experience:
    """Rollouts that continue each other, as one."""
    names = ("action", "reward", "terminated", "truncated", "values", "next_values", "log_probability")
    valid = [torch.ones_like(one.terminated) if one.valid is None else one.valid for one in pieces]
    return Experience(
        observation=map_arrays(lambda *parts: torch.cat(parts), *(one.observation for one in pieces)),
        valid=None if all(one.valid is None for one in pieces) else torch.cat(valid),
        past=_joined_past([one.past for one in pieces if one.past is not None]),
        **{name: torch.cat([getattr(one, name) for one in pieces]) for name in names},
    )


def _joined_past(pieces: list[Past]) -> Past | None:
    return Past(pieces[0].state, torch.cat([one.begins for one in pieces])) if pieces else None


def _check(reinforce: Reinforce, total: int) -> None:
    choose("baseline", reinforce.baseline, BASELINES)
    if reinforce.episodes < 1:
        raise ValueError(f"an update takes 1 episode of every environment or more, got episodes {reinforce.episodes}")
    if reinforce.baseline == "constant" and total < 2:
        raise ValueError(
            "a constant baseline is the mean of an update's other episodes, and an update has 1: raise --episodes, "
            "take more environments, or use another --baseline"
        )
