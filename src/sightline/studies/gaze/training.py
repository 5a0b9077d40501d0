"""An agent with attention that learns BoxWorld from a planner, in minutes: what it sees is what it has to go by.

The agent acts (its own drawn actions, so that it learns in the states that it gets into: DAgger, Ross et al., 2011,
https://arxiv.org/abs/1011.0686, with the agent alone acting), the planner says which steps would have been good, and
the loss is the negative logarithm of the probability that the agent gives to these together. The planner reads the
level's state, the agent the pixels.

What it leaves is a run folder as that of `sightline act`, which `sightline play` shows. Training goes in chapters: each
begins with new episodes and random numbers of its own and ends with a checkpoint, so that a training that was stopped
and resumed ends with the same weights.

Left out: a critic (its numbers mean nothing here), and rewards, from which PPO learns such levels more slowly
(`benchmarks/learning.py box-world-non-local`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from sightline.envs.box_world import GEM_REWARD, BoxWorld
from sightline.envs.environment import put
from sightline.envs.making import make_environments
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.run import append_metrics, has_checkpoint, load_checkpoint, open_run, save_checkpoint, seed_everything
from sightline.run.denormals import denormals_are_zero
from sightline.studies.gaze.planner import good_steps

NAME, LIMIT = "sightline/BoxWorldSmall-v0", 60
ENVIRONMENTS, ROWS = 128, 1  # environments, and steps of each between two updates
CHAPTER = 400  # updates
RATE, LARGEST = 4e-3, 1.0  # of Adam, falling linearly to nothing; the norm of a gradient


@dataclass(frozen=True)
class Training:
    """One agent: which levels, how long, from which seed."""

    world: BoxWorld
    updates: int
    seed: int
    width: int = 32

    @property
    def folder(self) -> Path:
        """Where its run folder lies below the study's."""
        return Path("runs") / f"seed{self.seed}"

    @property
    def steps(self) -> int:
        """Of all environments together."""
        return self.updates * ROWS * ENVIRONMENTS

    @property
    def title(self) -> str:
        """Its name in a line of text."""
        return f"seed {self.seed}"

    def arguments(self) -> dict[str, Any]:
        """Of the environment, as `gymnasium.make` takes them."""
        world = self.world
        return {"size": world.size, "goal_length": world.goal_length, "distractors": world.distractors}

    def policy_settings(self) -> PolicySettings:
        """Of the policy."""
        arguments = {"image_channels": 3, "width": self.width}
        encoder = {"object": "sightline.studies.gaze.network:Looking", "arguments": arguments}
        return PolicySettings(encoder=json.dumps(encoder), pool="summary", hidden=(128,))


def build(training: Training) -> tuple[Policy, dict[str, Any]]:
    """The policy from its seed, and the run's config."""
    envs = make_environments(NAME, 1, arguments=training.arguments())
    seed_everything(training.seed)
    settings = training.policy_settings()
    policy = make_policy(envs.single_observation_space, envs.single_action_space, settings)
    config = {
        "kind": "act",
        "agent": "learned from a planner",
        "policy": settings,
        "environment": {"env": NAME, "env_arguments": json.dumps(training.arguments()), "workers": "auto", "stack": 1},
        "envs": ENVIRONMENTS,
        "steps": training.steps,
        "seed": training.seed,
        "normalise_observations": False,
        "normalise_rewards": False,
        "observation_space": str(envs.single_observation_space),
        "action_space": str(envs.single_action_space),
    }
    envs.close()
    return policy, config


@denormals_are_zero()
def train(
    training: Training, out: Path, *, resume: bool = False, stop: Callable[[], bool] = lambda: False
) -> Policy | None:
    """Train to the end and return the policy; None if it was stopped before, after the chapter it was in."""
    policy, config = build(training)
    folder = open_run(out / training.folder, config, resume=resume)
    optimizer = torch.optim.Adam(policy.parameters(), RATE)
    chapter = 0
    if has_checkpoint(folder):
        chapter = load_checkpoint(folder, policy, states={"optimizer": optimizer}).extra["chapter"]
    chapters = -(-training.updates // CHAPTER)
    while chapter < chapters:
        updates = range(chapter * CHAPTER, min((chapter + 1) * CHAPTER, training.updates))
        row = learn(policy, optimizer, training, chapter, updates)
        chapter += 1
        steps = updates.stop * ROWS * ENVIRONMENTS
        append_metrics(folder, {"step": steps, "steps": steps, **row})
        save_checkpoint(folder, policy, step=steps, states={"optimizer": optimizer}, extra={"chapter": chapter})
        if stop() and chapter < chapters:
            return None
    return policy.eval()


def learn(
    policy: Policy, optimizer: torch.optim.Optimizer, training: Training, chapter: int, updates: range
) -> dict[str, float]:
    """One chapter: act, ask the planner, follow it.

    Returns:
        The loss, the share of states in which the most probable action is a good one, and of episodes the share that
        ended with the gem.
    """
    policy.train()
    world, seed = training.world, [training.seed, chapter]
    levels = [np.random.default_rng([*seed, i]) for i in range(ENVIRONMENTS)]
    chance = np.random.default_rng([*seed, ENVIRONMENTS])
    state, image = world.reset(levels, ENVIRONMENTS)
    age = np.zeros(ENVIRONMENTS, int)
    total, right, asked, won, ended = 0.0, 0, 0, 0, 0
    for update in updates:
        images: list[UInt8[np.ndarray, "b h w 3"]] = []
        wanted: list[Bool[np.ndarray, "b 4"]] = []
        for _ in range(ROWS):
            good = good_steps(state)
            images.append(image)
            wanted.append(good)
            with torch.no_grad():
                share = log_probabilities(policy, image).exp().numpy()
            action = (share.cumsum(1) < chance.random((ENVIRONMENTS, 1))).sum(1).clip(max=3)
            state, image, reward, over = world.step(state, action, levels)
            age += 1
            over |= age >= LIMIT
            won, ended = won + int((reward[over] == GEM_REWARD).sum()), ended + int(over.sum())
            if over.any():
                new = np.flatnonzero(over)
                state = put(state, new, world.reset([levels[i] for i in new], len(new))[0])
                image, age[new] = world.observe(state), 0
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - update / training.updates)
        good_actions = torch.from_numpy(np.concatenate(wanted))
        known = good_actions.any(1)
        said = log_probabilities(policy, np.concatenate(images))[known]
        loss = loss_of(said, good_actions[known])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.actor_body.parameters(), LARGEST)
        optimizer.step()
        total += float(loss.detach())
        right += int(good_actions[known].gather(1, said.argmax(1, keepdim=True)).sum())
        asked += int(known.sum())
    return {"loss": total / len(updates), "right": right / max(asked, 1), "solved": won / max(ended, 1)}


def log_probabilities(policy: Policy, image: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b 4"]:
    """Of every action."""
    return policy.distribution(torch.from_numpy(image)).log_probabilities  # type: ignore[attr-defined]


def loss_of(said: Float[Tensor, "b 4"], good: Bool[Tensor, "b 4"]) -> Float[Tensor, ""]:
    """The negative logarithm of the good actions' probability together; which of them is taken is left to the agent."""
    return -said.masked_fill(~good, -torch.inf).logsumexp(1).mean()
