"""A run of `sightline act`, loaded: the policy with what it learned, its normalisation, its environments, its model.

Left out: going on with the training (the command does, with `--resume`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from sightline.rl.acting import Acting
from sightline.rl.deep_dyna import DeepDyna, ending_of, worth
from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies.policy import Policy
from sightline.rl.runs.build import Agent, Network, discount_of, make_envs, make_network
from sightline.rl.world_model import WorldModel
from sightline.run.checkpoint import has_checkpoint, load_weights, read_state
from sightline.run.config import read_config, rebuild


@dataclass(frozen=True)
class LoadedAgent:
    """What a run learned, ready to act."""

    policy: Network
    """In evaluation mode, on the CPU."""
    normaliser: ObservationNormaliser | None
    """What it sees observations through."""
    environment: dict[str, Any]
    """Name, arguments, workers and stack, as the run's config has them."""
    seed: int
    """Of the run."""
    steps: int
    """That it has learned from."""
    folder: Path
    """Where it lies."""
    agent: Agent | str
    """The settings that it learned with; in words where something else than an agent did."""
    trust: bool = False
    """Whether environments from outside sightline may be imported."""

    def acting(self, *, greedy: bool = True) -> Acting:
        """The policy as `Collector.collect` takes it."""
        return Acting(self.policy, self.normaliser, greedy=greedy)

    def make_envs(self, count: int = 1, *, render_mode: str | None = None) -> VectorEnv[Any, Any, Any]:
        """Environments like those that it learned in, in this process."""
        return make_envs(self.environment, count, trust=self.trust, render_mode=render_mode)


def load_agent(folder: str | Path, *, trust: bool = False) -> LoadedAgent:
    """The agent in a folder that `sightline act` wrote.

    Args:
        folder: of the run.
        trust: whether objects from outside of sightline may be imported, which runs their code.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        ValueError: it is a run of something else, or its files are broken.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.get("kind") == "tabular":
        raise ValueError(
            f"{folder} is the run of a table, which has no network to watch or export: its values are in checkpoint/, "
            "and evaluation.json says how good they are"
        )
    if config.get("kind") != "act":
        raise ValueError(f"{folder} is no run of sightline act: name a folder that sightline act wrote")
    if not has_checkpoint(folder):
        raise FileNotFoundError(f"the run in {folder} has no checkpoint yet: train it until the first one is written")
    envs = make_envs(config["environment"], 1, trust=trust)
    found = {"observation_space": envs.single_observation_space, "action_space": envs.single_action_space}
    for name, space in found.items():
        if str(space) != config[name]:
            raise ValueError(
                f"the environment has changed since the run in {folder}: its {name.replace('_', ' ')} was "
                f"{config[name]} and is now {space}; install the version that it was trained with"
            )
    agent, network = (rebuild(config[name], trust) for name in ("agent", "policy"))
    policy = make_network(agent, network, envs.single_observation_space, envs.single_action_space, trust=trust)
    normaliser = ObservationNormaliser(envs.single_observation_space) if config["normalise_observations"] else None
    envs.close()
    load_weights(folder, policy)
    state = read_state(folder)
    if normaliser is not None:
        normaliser.load_state_dict(state["extra"]["processes"][0]["learner"]["observations"])
    return LoadedAgent(
        policy.eval(), normaliser, config["environment"], config["seed"], state["step"], folder, agent, trust
    )


def load_world_model(folder: str | Path, *, trust: bool = False) -> WorldModel:
    """The model that a run of `sightline act deep-dyna` learned, to be asked (`predict`) or searched in.

    Args:
        folder: of the run.
        trust: whether objects from outside of sightline may be imported, which runs their code.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        ValueError: it is a run of something else, its files are broken, or the model has learned nothing yet.
    """
    agent = load_agent(folder, trust=trust)
    settings = agent.agent
    if not isinstance(settings, DeepDyna) or isinstance(agent.policy, Policy):
        raise ValueError(f"the run in {folder} learned no model: name one of sightline act deep-dyna")
    envs = agent.make_envs()
    world = WorldModel(
        envs.single_observation_space,
        envs.single_action_space,
        settings.world,
        gamma=discount_of(settings, envs.single_action_space),
        ending=ending_of(settings.world.ending, trust=trust),
        evaluate=worth(agent.policy, agent.normaliser),
    )
    envs.close()
    world.load_state_dict(read_state(Path(folder))["extra"]["processes"][0]["learner"]["imagination"]["world"])
    if not world.learned:
        raise ValueError(f"the model of the run in {folder} has learned nothing yet: take more steps (--resume)")
    return world
