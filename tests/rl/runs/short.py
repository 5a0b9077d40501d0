"""Short runs for the tests of `sightline act`, and what of them must come out the same."""

import json
from pathlib import Path
from typing import Any

from sightline.rl.a2c import A2C
from sightline.rl.deep_dyna import DeepDyna
from sightline.rl.dqn import DQN
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.ppo import PPO
from sightline.rl.reinforce import Reinforce
from sightline.rl.runs.settings import ActA2C, ActDeepDyna, ActDQN, ActPPO, ActReinforce, ActSAC, Common, Settings
from sightline.rl.sac import SAC
from sightline.rl.world_model import WorldModelSettings
from sightline.run.folder import read_metrics

DREAMS = DeepDyna(
    model_every=120,
    world=WorldModelSettings(members=3, elites=2, hidden=(8, 8), passes=3, batch=64),
    sac=SAC(rollout=8, updates=2, batch=16, starts=100, capacity=300, row_every=100),
    dqn=DQN(batch=16, starts=100, capacity=300, target_every=7, row_every=100),
)
AGENTS = {
    "ppo": (ActPPO, PPO(rollout=16, batch=16, epochs=2)),
    "a2c": (ActA2C, A2C(rollout=8)),
    "reinforce": (ActReinforce, Reinforce(rollout=16, episodes=1, baseline="value")),
    "sac": (ActSAC, SAC(rollout=8, updates=2, batch=16, starts=100, capacity=300, row_every=100)),
    "dqn": (ActDQN, DQN(batch=16, starts=100, capacity=300, target_every=7, prioritised=True, n_step=2, row_every=100)),
    "dyna": (ActDeepDyna, DREAMS),
}


def short(out: Path, agent: str = "ppo", env: str = "CartPole-v1", **changes: Any) -> Settings:
    """Settings of a run that takes a moment; `changes` are of `Common`, or "policy"."""
    kind, learns = AGENTS[agent]
    policy = changes.pop("policy", PolicySettings(hidden=(8,)))
    common: dict[str, Any] = {"steps": 512, "envs": 4, "evaluation_episodes": 4, "save_every": 128, **changes}
    return kind(run=Common(env=env, out=out, **common), agent=learns, policy=policy)


def course(folder: Path) -> list[dict[str, Any]]:
    """All rows of a run, clocks apart."""
    return [{k: v for k, v in row.items() if k != "steps_per_second"} for row in read_metrics(folder)]


def weights(folder: Path) -> bytes:
    return (folder / "checkpoint" / "weights.safetensors").read_bytes()


def tensors(folder: Path) -> bytes:
    """Of the optimiser and of what the agent keeps beside its weights."""
    return (folder / "checkpoint" / "state.safetensors").read_bytes()


def state(folder: Path) -> Any:
    """What the agent keeps beside its weights, for every process; environments have generators that nobody seeded."""
    found = json.loads((folder / "checkpoint" / "state.json").read_text())
    return found["step"], [one["learner"] for one in found["extra"]["processes"]]
