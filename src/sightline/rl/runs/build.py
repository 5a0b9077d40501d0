"""From settings to what runs: environments, policy, learner, and the config that rebuilds them.

Left out: training (`loop.py`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from sightline.envs.making import make_environments
from sightline.rl import a2c, deep_dyna, dqn, ppo, reinforce, sac
from sightline.rl.learner import Learner
from sightline.rl.off_policy import OffPolicy
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.q_network import QNetwork, make_q_network
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.policies.soft_actor_critic import SoftActorCritic, make_soft_actor_critic
from sightline.rl.runs.settings import Common, Settings
from sightline.run.processes import processes

Agent = reinforce.Reinforce | a2c.A2C | ppo.PPO | dqn.DQN | sac.SAC | deep_dyna.DeepDyna
Network = Policy | QNetwork | SoftActorCritic
Row = dict[str, float | int]


def make_envs(
    environment: Mapping[str, Any], count: int, *, trust: bool = False, render_mode: str | None = None
) -> VectorEnv[Any, Any, Any]:
    """So many environments, as a run's config names them.

    Args:
        environment: the "environment" of `config_of`.
        count: how many.
        trust: whether they may come from outside of sightline and Gymnasium's registry.
        render_mode: None, or "rgb_array" for pictures.

    Raises:
        ValueError: there is no such environment, it is not trusted, or it cannot be made.
    """
    name, module = environment["env"], environment["env"].rpartition(":")[0]
    if module and not trust and module.split(".")[0] != "sightline":
        raise ValueError(f"'{name}' lies outside sightline and importing it runs its code: add --trust if you trust it")
    return make_environments(
        name,
        count,
        arguments=arguments_of(environment["env_arguments"]),
        workers=environment["workers"] if render_mode is None else "sync",
        stack=environment["stack"],
        render_mode=render_mode,
    )


def environment_of(run: Common) -> dict[str, Any]:
    """What `make_envs` takes."""
    return {name: getattr(run, name) for name in ("env", "env_arguments", "workers", "stack")}


def make_network(
    agent: Agent | str,
    settings: PolicySettings,
    observation: spaces.Space[Any],
    action: spaces.Space[Any],
    *,
    trust: bool = False,
) -> Network:
    """The network that an agent learns with, its weights from PyTorch's global random state.

    Args:
        agent: its settings; or in words how something else learned, which is a policy then.
        settings: of the network.
        observation: space of one environment.
        action: space of one environment.
        trust: whether an encoder may come from outside sightline.

    Raises:
        ValueError: a space that the agent does not serve, or settings that do not fit.
    """
    if isinstance(agent, deep_dyna.DeepDyna):
        agent = deep_dyna.agent_of(agent, action)
    if isinstance(agent, dqn.DQN):
        return make_q_network(observation, action, settings, duelling=agent.duelling, trust=trust)
    if isinstance(agent, sac.SAC):
        return make_soft_actor_critic(observation, action, settings, temperature=agent.temperature, trust=trust)
    return make_policy(observation, action, settings, trust=trust)


def make_learner(settings: Settings, device: torch.device) -> Learner | OffPolicy:
    """A new learner with this process's share of the environments; its weights from the seed.

    Raises:
        ValueError: something does not fit; one sentence says what.
    """
    run, agent, here = settings.run, settings.agent, processes()
    if run.envs < 1 or run.envs % here.count:
        raise ValueError(
            f"{run.envs} environments cannot be shared out evenly over {here.count} processes: use --envs "
            f"{max(run.envs // here.count, 1) * here.count}"
        )
    share = run.envs // here.count
    envs = make_envs(environment_of(run), share, trust=run.trust)
    seen, acted = envs.single_observation_space, envs.single_action_space
    network = make_network(agent, settings.policy, seen, acted, trust=run.trust).to(device)
    if not isinstance(network, Policy):
        if run.normalise_rewards:
            raise ValueError(
                "--normalise-rewards is for reinforce, a2c and ppo: what a replay remembers keeps its scale; leave it "
                "out"
            )
        same: Any = {"seed": run.seed, "normalise_observations": run.normalise_observations}
        if isinstance(agent, deep_dyna.DeepDyna):
            return deep_dyna.make_learner(network, envs, agent, **same, trust=run.trust)
        if isinstance(network, QNetwork):
            assert isinstance(agent, dqn.DQN)
            return dqn.make_learner(network, envs, agent, **same)
        assert isinstance(agent, sac.SAC)
        return sac.make_learner(network, envs, agent, **same)
    assert not isinstance(agent, dqn.DQN | sac.SAC | deep_dyna.DeepDyna)
    return Learner(
        network,
        envs,
        rollout=agent.rollout,
        gamma=agent.gamma,
        learning_rate=agent.learning_rate,
        seed=run.seed,
        first=here.rank * share,
        normalise_observations=run.normalise_observations,
        normalise_rewards=run.normalise_rewards,
    )


def updates(learner: Learner | OffPolicy, agent: Agent, steps: int) -> Iterator[Row]:
    """The agent's `train`."""
    if isinstance(learner, OffPolicy):
        if isinstance(agent, deep_dyna.DeepDyna):
            return deep_dyna.train(learner, agent, steps)
        if isinstance(agent, sac.SAC):
            return sac.train(learner, agent, steps)
        assert isinstance(agent, dqn.DQN)
        return dqn.train(learner, agent, steps)
    if isinstance(agent, ppo.PPO):
        return ppo.train(learner, agent, steps)
    if isinstance(agent, a2c.A2C):
        return a2c.train(learner, agent, steps)
    assert isinstance(agent, reinforce.Reinforce)
    return reinforce.train(learner, agent, steps)


def discount_of(agent: Agent, action: spaces.Space[Any]) -> float:
    """An agent's discount; a dreaming one has that of the agent which it is."""
    return (deep_dyna.agent_of(agent, action) if isinstance(agent, deep_dyna.DeepDyna) else agent).gamma


def config_of(settings: Settings, envs: VectorEnv[Any, Any, Any]) -> dict[str, Any]:
    """What `config.json` holds: all that the run's course depends on, and the spaces that it found."""
    run = settings.run
    return {
        "kind": "act",
        "agent": settings.agent,
        "policy": settings.policy,
        "environment": environment_of(run),
        "envs": run.envs,
        "steps": run.steps,
        "seed": run.seed,
        "normalise_observations": run.normalise_observations,
        "normalise_rewards": run.normalise_rewards,
        "observation_space": str(envs.single_observation_space),
        "action_space": str(envs.single_action_space),
    }


def arguments_of(text: str) -> Mapping[str, Any]:
    """The arguments of an environment, from their JSON.

    Raises:
        ValueError: it is none.
    """
    if not text:
        return {}
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--env-arguments is JSON such as '{{\"size\": 8}}', got '{text}' ({error})") from None
    if not isinstance(arguments, dict):
        raise ValueError(f"--env-arguments is a JSON object such as '{{\"size\": 8}}', got '{text}'")
    return arguments
