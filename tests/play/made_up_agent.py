"""Agents that have learned next to nothing, in run folders, and encoders of a user's own."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightline.rl.policies.settings import PolicySettings
from sightline.rl.ppo import PPO
from sightline.rl.runs.act import run_agent
from sightline.rl.runs.settings import ActPPO, Common


def trained(
    folder: Path, env: str = "sightline/Catch-v0", *, policy: PolicySettings | None = None, **common: Any
) -> Path:
    """The folder of a run of 64 steps."""
    given: dict[str, Any] = {"steps": 64, "envs": 2, "evaluation_episodes": 0, **common}
    kind = policy if policy is not None else PolicySettings(hidden=(8,))
    run_agent(ActPPO(Common(env=env, out=folder, **given), PPO(rollout=32, batch=64, epochs=1), kind))
    return folder


class OwnEncoder(nn.Module):
    """Attention written by hand: `[b, c, h, w] -> [b, 4, h, w]`, every position asks every other."""

    channels, stride = 4, 1

    def __init__(self, image_channels: int = 1) -> None:
        super().__init__()
        self.join = nn.Conv2d(image_channels, 4, 1)
        self.key = nn.Linear(4, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.join(image)
        tokens = x.flatten(2).mT
        table = (tokens @ self.key(tokens).mT).softmax(-1)
        return (table @ tokens).mT.unflatten(2, x.shape[2:])
