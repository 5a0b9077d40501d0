"""`sightline export RUN` of an agent: its policy as an ONNX file that takes what the environment gives.

The inputs are the observation's arrays in the environment's own types, any number of rows: `observation`, or of a
dictionary each part by its key ("image", "action_mask", "arm.angles" within another), so that the dictionary itself can
be fed. The normalisation is inside. The outputs are

| output              | what it is                                                                                     |
|---------------------|------------------------------------------------------------------------------------------------|
| `action`            | the most probable, as `step` takes it: a Discrete's start added, a Box clipped or unsquashed   |
| `logits`            | of choices: log-probabilities, -inf if forbidden; of MultiDiscrete `[n, choices, most]`        |
| `mean`, `log_scale` | of a Gaussian, before the squashing where there is one                                         |
| `values`            | of a network of action values: the return to expect from each action                           |
| `value`             | the return that the critic expects, in the scale that it learned at                            |
| `memory_after`      | of a policy with a memory: what to give as `memory` with the next observation of the episode   |

A policy with a memory has one more input, `memory` `[n, memories, units]`: zeros where an episode begins.

Nothing is believed: the file is opened in onnxruntime, asked about random observations in several numbers of rows, and
compared with the policy; only then does it take its name.

Left out: drawing actions (the parameters serve that), and programs of `torch.export`.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.export import Dim

from sightline.models.export import need_packages, without_notes
from sightline.models.trace import first_line
from sightline.rl.acting import to_tensors
from sightline.rl.distributions import Bernoulli, Gaussian, SquashedGaussian
from sightline.rl.distributions.discrete import Categorical, MultiDiscrete
from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies.body import mask_of
from sightline.rl.policies.memory import Past
from sightline.rl.policies.q_network import QNetwork
from sightline.rl.policies.soft_actor_critic import SoftActorCritic
from sightline.rl.runs.build import Network
from sightline.rl.runs.loaded import load_agent
from sightline.rl.trees import Arrays, map_arrays, named_arrays
from sightline.run.files import said

Given = tuple[Arrays] | tuple[Arrays, np.ndarray]  # an observation, and of a policy with a memory what it remembers
TRACED, CHECKED = 3, (1, 2, 7, 64)  # rows of observations
WIDE = 10.0  # a part without bounds is tried with normal numbers of this deviation around what was seen


@dataclass(frozen=True)
class ExportedPolicy:
    """What was written and how it was checked."""

    file: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rows: tuple[int, ...]
    difference: float  # the largest from the policy, over the largest entry of that output

    def __str__(self) -> str:
        return (
            f"{self.file}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}, any number of rows; checked with "
            f"{', '.join(map(str, self.rows))} rows: equal to the policy to {self.difference:.0e}"
        )


class Deployed(nn.Module):
    """A policy from raw observations to actions of the environment: all of it in one graph.

    Args:
        policy: on the CPU.
        normaliser: what it sees observations through.
    """

    def __init__(self, policy: Network, normaliser: ObservationNormaliser | None) -> None:
        super().__init__()
        self.policy, self.clip = policy, 0.0 if normaliser is None else normaliser.clip
        self.moments: Arrays = None
        if normaliser is not None:
            self.moments = map_arrays(_both, normaliser.mean, normaliser.scale)
        space = policy.fit.space
        if isinstance(space, spaces.Box):  # between them as NumPy would do it, in the wider of both types
            self.low, self.high = (torch.from_numpy(np.array(bound)) for bound in (space.low, space.high))

    def forward(self, observation: Arrays, memory: Tensor | None = None) -> tuple[Tensor, ...]:
        """`action`, the parameters, `value`, and `memory_after` of a policy with a memory, as `names` has them."""
        if self.moments is not None:
            observation = map_arrays(self._normalised, observation, self.moments)
        policy = self.policy
        if isinstance(policy, QNetwork):
            values = policy.values(observation)
            return self._action(values.argmax(-1)), values, values.amax(-1)
        if isinstance(policy, SoftActorCritic):
            numbers, value = policy.heads(policy.features(observation), observation)
            return self._action(numbers.mode()), *_parameters(numbers), value
        past = None if memory is None else Past(memory, torch.zeros_like(memory[None, :, 0, 0], dtype=torch.bool))
        features = policy.features(observation, past)
        outputs, mask = policy.actor(features[0]), mask_of(observation)
        if mask is not None:  # as the distributions do it, without asking whether any action is left: one always is
            outputs = outputs.masked_fill(~mask, -torch.inf)
        distribution = policy.fit.distribution(outputs, policy.log_scale)
        value = policy.critic(features[1]).squeeze(-1)
        after = () if memory is None else (policy.states(features),)
        return self._action(distribution.mode()), *_parameters(distribution), value, *after

    def names(self) -> tuple[str, ...]:
        """Of the outputs."""
        if isinstance(self.policy, QNetwork):
            return "action", "values", "value"
        inner = ("mean", "log_scale") if isinstance(self.policy.fit.space, spaces.Box) else ("logits",)
        return ("action", *inner, "value", *(["memory_after"] if self.policy.remembers else []))

    def _normalised(self, part: Tensor, moments: tuple[Tensor, Tensor] | None) -> Tensor:
        if moments is None:
            return part
        mean, scale = moments
        return ((part.double() - mean) * scale).clamp(-self.clip, self.clip).float()

    def _action(self, mode: Tensor) -> Tensor:
        space = self.policy.fit.space
        shaped = mode.unflatten(-1, space.shape) if len(space.shape or ()) > 1 else mode
        if isinstance(space, spaces.Box):
            if space.shape == ():
                shaped = shaped.squeeze(-1)
            wide = torch.promote_types(shaped.dtype, self.low.dtype)
            return shaped.to(wide).clamp(self.low.to(wide), self.high.to(wide)).to(self.low.dtype)
        start = torch.as_tensor(np.asarray(getattr(space, "start", 0), np.int64))
        return (shaped + start).to(getattr(torch, np.dtype(space.dtype).name))


def export_policy(
    policy: Network,
    normaliser: ObservationNormaliser | None,
    observation_space: spaces.Space[Any],
    file: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
    tolerance: float = 1e-4,
) -> ExportedPolicy:
    """Write a policy as an ONNX file and compare it.

    Args:
        policy: on the CPU, in evaluation mode.
        normaliser: what it sees observations through, None for nothing.
        observation_space: of one environment.
        file: where to.
        metadata: texts that go into the file.
        tolerance: how far an output may be from the policy's, over its largest entry.

    Raises:
        ValueError: what is needed is not installed, PyTorch cannot export the policy, or the file answers otherwise
            than the policy; nothing is then written.
        OSError: the file cannot be written.
    """
    need_packages("onnx", "onnxscript", "onnxruntime")
    file, network = Path(file), Deployed(policy, normaliser).eval()
    rng = np.random.default_rng(0)

    def ask(rows: int) -> Given:
        observation = random_observations(observation_space, normaliser, rows, rng)
        start = policy.start(rows)
        if start is None:
            return (observation,)
        return observation, rng.uniform(-1, 1, tuple(start.state.shape)).astype(np.float32)

    example = ask(TRACED)
    inputs, outputs = list(_fed(example)), network.names()
    try:
        with without_notes(), torch.no_grad():
            rows = tuple(map_arrays(lambda _: {0: Dim.AUTO}, part) for part in example)
            tensors = tuple(to_tensors(part, "cpu") for part in example)
            program = torch.export.export(network, tensors, dynamic_shapes=rows)
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=inputs, output_names=list(outputs)
            )
    except Exception as error:  # the tracer's and the exporter's own kinds, and what their parts raise
        raise ValueError(f"PyTorch has no ONNX for a part of this policy: {first_line(error)}") from error
    assert made is not None
    _rename_inside(made.model.graph, {*inputs, *outputs})
    made.model.metadata_props.update({} if metadata is None else metadata)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            new = Path(folder) / file.name
            made.save(new)
            difference = max(_compare(network, new, ask(rows), outputs, tolerance) for rows in CHECKED)
            for one in sorted(Path(folder).iterdir()):
                os.replace(one, file.parent / one.name)
    except OSError as error:
        raise said(error, f"{file} could not be written") from error
    return ExportedPolicy(file, tuple(inputs), outputs, CHECKED, difference)


def export_agent(folder: Path, out: Path | None = None, *, trust: bool = False) -> ExportedPolicy:
    """The policy of a run of `sightline act`, as `policy.onnx` in its folder unless `out` says where.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        ValueError: as `load_agent` and `export_policy`.
        OSError: the file cannot be written.
    """
    agent = load_agent(folder, trust=trust)
    envs = agent.make_envs(1)
    space, actions = envs.single_observation_space, envs.single_action_space
    envs.close()
    about = {
        "environment": str(agent.environment["env"]),
        "steps": str(agent.steps),
        "observation": str(space),
        "action": str(actions),
        "normalised": "no" if agent.normaliser is None else "inside the file: give observations as they are",
        "squashed": str(agent.policy.fit.squash is not None),
    }
    report = export_policy(
        agent.policy, agent.normaliser, space, folder / "policy.onnx" if out is None else out, metadata=about
    )
    print(report)
    return report


def random_observations(
    space: spaces.Space[Any], normaliser: ObservationNormaliser | None, rows: int, rng: np.random.Generator
) -> Arrays:
    """Observations in a space, `[rows, ...]`, about where the normaliser has seen any; masks leave an action."""
    one = map_arrays(lambda _: None, _tree(space)) if normaliser is None else normaliser.mean
    scale = one if normaliser is None else normaliser.scale

    def draw(part: spaces.Space[Any], mean: Any, scale: Any) -> np.ndarray:
        if isinstance(part, spaces.Box) and np.issubdtype(part.dtype, np.floating):
            bounded = np.isfinite(part.low) & np.isfinite(part.high) & (np.abs(part.high) < 1e6)
            around = rng.standard_normal((rows, *part.shape)) * (WIDE if scale is None else 2 / scale)
            inside = rng.uniform(np.where(bounded, part.low, 0), np.where(bounded, part.high, 1), around.shape)
            found = np.where(bounded, inside, around + (0 if mean is None else mean))
            return np.clip(found, part.low, part.high).astype(part.dtype)
        part.seed(int(rng.integers(2**31)))
        return np.stack([np.asarray(part.sample(), part.dtype) for _ in range(rows)])

    return map_arrays(draw, _tree(space), one, scale)


def _tree(space: spaces.Space[Any]) -> Arrays:
    """The spaces of an observation's arrays, in the observation's own order."""
    if isinstance(space, spaces.Dict):
        return {key: _tree(part) for key, part in space.spaces.items()}
    return tuple(map(_tree, space.spaces)) if isinstance(space, spaces.Tuple) else space


def _plain(name: str) -> str:
    """An input's name: "['arm']['angles']" is arm.angles, "[0]" is observation.0, "" is observation."""
    keys = [key.strip("'\"") for key in name.removeprefix("[").removesuffix("]").split("][") if key]
    if not keys or keys[0].isdigit():
        keys = ["observation", *keys]
    return ".".join(keys)


def _fed(given: Given) -> dict[str, np.ndarray]:
    """The inputs by their names.

    Raises:
        ValueError: two have one name.
    """
    named = {_plain(name): array for name, array in named_arrays(given[0], "")}
    if len(given) > 1:
        if "memory" in named:
            raise ValueError("a part of the observation is called 'memory' as the file's own input is: rename it")
        named["memory"] = given[1]
    return named


def _rename_inside(graph: Any, taken: set[str]) -> None:
    """The exporter names what it computes after the functions, `mean` say, also where an output is called so."""
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in taken and id(value) not in ends:
                value.name = f"{value.name}_inside"


def _both(mean: np.ndarray | None, scale: np.ndarray | None) -> tuple[Tensor, Tensor] | None:
    return None if mean is None or scale is None else (torch.from_numpy(mean), torch.from_numpy(scale))


def _parameters(distribution: Any) -> Iterator[Tensor]:
    if isinstance(distribution, SquashedGaussian):
        distribution = distribution.inner
    if isinstance(distribution, Gaussian):
        yield distribution.mean
        yield distribution.log_scale.expand_as(distribution.mean)
    elif isinstance(distribution, Categorical):
        yield distribution.log_probabilities
    elif isinstance(distribution, MultiDiscrete):
        yield distribution.choices.log_probabilities
    elif isinstance(distribution, Bernoulli):
        yield distribution.logits
    else:
        raise ValueError(f"a {type(distribution).__name__} has no known parameters to export")


def _compare(network: Deployed, file: Path, asked: Given, names: tuple[str, ...], tolerance: float) -> float:
    """The largest difference between the file's outputs and the policy's.

    Raises:
        ValueError: too large, or the file gives no answer.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = _fed(asked)
    rows = len(next(iter(given.values())))
    try:
        got = session.run(list(names), given)
    except Exception as error:  # whatever the runtime raises
        raise ValueError(f"what was made of the policy fails for {rows} rows: {first_line(error)}") from error
    with torch.no_grad():
        wanted = [one.numpy() for one in network(*(to_tensors(part, "cpu") for part in asked))]
    largest = 0.0
    for name, one, other in zip(names, got, wanted, strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            is_, needed = (f"{array.dtype} {list(array.shape)}" for array in (one, other))
            raise ValueError(f"{name} of the file is {is_} where the policy's is {needed}: nothing was written")
        if name == "action" and not isinstance(network.policy.fit.space, spaces.Box):
            one, other = _likelihoods(network, wanted, one), _likelihoods(network, wanted, other)
        apart = _apart(one, other)
        largest = max(largest, apart)
        if not apart <= tolerance:  # a NaN is no agreement
            raise ValueError(
                f"{name} of the file differs from the policy's by {apart:.1e} of its largest entry, more than "
                f"{tolerance:.0e}, for {rows} rows: nothing was written"
            )
    return largest


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    same = one == other  # infinities too
    finite = np.abs(other[np.isfinite(other)]).max(initial=0)
    apart = np.where(same, 0.0, np.abs(np.where(same, 0, one) - np.where(same, 0, other)))
    return float(apart.max(initial=0) / max(float(finite), np.finfo(np.float32).tiny))


def _likelihoods(network: Deployed, wanted: list[Any], action: np.ndarray) -> np.ndarray:
    """What the policy gives the actions: of two that are equally probable, rounding chooses."""
    fit, logits = network.policy.fit, torch.from_numpy(wanted[1])
    kind: Callable[[Tensor], Any] = Bernoulli if isinstance(fit.space, spaces.MultiBinary) else Categorical
    raw = fit.from_space(action)
    found: Shaped[np.ndarray, "n"] = kind(logits).log_prob(raw).reshape(len(action), -1).sum(1).numpy()
    return found
