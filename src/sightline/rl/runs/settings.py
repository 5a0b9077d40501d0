"""Settings of `sightline act`: what all agents share, and each agent's own beside it.

Left out: what the agents mean by their settings (`reinforce.py`, `a2c.py`, `ppo.py`, `dqn.py`, `sac.py`,
`deep_dyna.py`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from sightline.rl.a2c import A2C
from sightline.rl.deep_dyna import DeepDyna
from sightline.rl.dqn import DQN
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.ppo import PPO
from sightline.rl.reinforce import Reinforce
from sightline.rl.sac import SAC


@dataclass(frozen=True)
class Common:
    """What every agent needs to know to run."""

    env: str
    """Of Gymnasium's registry (CartPole-v1, sightline/Catch-v0), or package.module:object that makes one."""
    out: Path
    """The run folder; it is made."""
    steps: int = 100_000
    """Environment steps, of all environments together."""
    env_arguments: str = ""
    """For the environment, as JSON: '{"size": 8}'."""
    envs: int = 8
    """Environments that are stepped through together, over all processes."""
    workers: str = "auto"
    """auto, sync (one process steps through all), async (a process each) or batched (the environment's own batch)."""
    stack: int = 1
    """Observations that the policy sees together, the latest ones."""
    seed: int = 0
    """Of everything that is random."""
    resume: bool = False
    """Go on with the run that is in the folder."""
    normalise_observations: bool = False
    """Bring every number that is observed to mean 0 and deviation 1; images stay as they are."""
    normalise_rewards: bool = False
    """Divide rewards by the deviation of discounted returns."""
    save_every: int = 50_000
    """Environment steps between two checkpoints."""
    evaluate_every: int = 0
    """Environment steps between two evaluations; 0: only at the end."""
    evaluation_episodes: int = 20
    """Episodes of an evaluation, in environments of its own; 0: none."""
    evaluation_sampled: bool = False
    """Draw the actions of an evaluation, where otherwise the most probable one is taken."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    threads: int = 1
    """Threads of one process; small networks are slower with more. 0: as many as PyTorch likes."""
    tensorboard: bool = False
    """Write event files for TensorBoard as well."""
    trust: bool = False
    """Import environments and encoders from outside sightline, which runs their code."""


@dataclass(frozen=True)
class ActReinforce:
    """Settings of `sightline act reinforce`."""

    run: OmitArgPrefixes[Common]
    agent: OmitArgPrefixes[Reinforce] = field(default_factory=Reinforce)
    policy: OmitArgPrefixes[PolicySettings] = field(default_factory=PolicySettings)


@dataclass(frozen=True)
class ActA2C:
    """Settings of `sightline act a2c`."""

    run: OmitArgPrefixes[Common]
    agent: OmitArgPrefixes[A2C] = field(default_factory=A2C)
    policy: OmitArgPrefixes[PolicySettings] = field(default_factory=PolicySettings)


@dataclass(frozen=True)
class ActPPO:
    """Settings of `sightline act ppo`."""

    run: OmitArgPrefixes[Common]
    agent: OmitArgPrefixes[PPO] = field(default_factory=PPO)
    policy: OmitArgPrefixes[PolicySettings] = field(default_factory=PolicySettings)


@dataclass(frozen=True)
class ActDQN:
    """Settings of `sightline act dqn`."""

    run: OmitArgPrefixes[Common]
    agent: OmitArgPrefixes[DQN] = field(default_factory=DQN)
    policy: OmitArgPrefixes[PolicySettings] = field(default_factory=PolicySettings)


@dataclass(frozen=True)
class ActSAC:
    """Settings of `sightline act sac`."""

    run: OmitArgPrefixes[Common]
    agent: OmitArgPrefixes[SAC] = field(default_factory=SAC)
    policy: OmitArgPrefixes[PolicySettings] = field(default_factory=PolicySettings)


@dataclass(frozen=True)
class ActDeepDyna:
    """Settings of `sightline act deep-dyna`."""

    run: OmitArgPrefixes[Common]
    agent: Annotated[DeepDyna, arg(name="")] = field(default_factory=DeepDyna)  # of its own names alone: --sac.batch
    policy: OmitArgPrefixes[PolicySettings] = field(default_factory=PolicySettings)


Settings = ActReinforce | ActA2C | ActPPO | ActDQN | ActSAC | ActDeepDyna
