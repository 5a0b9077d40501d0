"""SAC's built-in MLPs in NumPy, on the memory of their PyTorch parameters: acting, targets and both gradients.

As `by_hand.py` does for PPO. With u = mean + s z for noise z, a = tanh u, temperature t and n rows:

    log p = sum -z^2 / 2 - log s - log(2 pi) / 2 - 2 (log 2 - u - softplus(-2 u)),    dlog p / du = 2 a
    critics: L = sum_i mean (Q_i - y)^2 / 2,     dL/dQ_i = (Q_i - y) / n
    actor:   L = mean t log p - min_i Q_i,       dL/du = (2 t a - (1 - a^2) dmin Q/da) / n
             dL/dmean = dL/du,                   dL/dlog s = s z dL/du - t / n,  0 where log s is clamped

Images, other parts of dictionaries and CUDA go through autograd (`sac.py`), which is the oracle of this file's tests.
"""

import math

import numpy as np
from jaxtyping import Float, Float32
from torch import nn

from sightline.rl.policies.by_hand import MLP, mlp_of, only_mlps
from sightline.rl.policies.soft_actor_critic import LOG_SCALE, Critic, SoftActorCritic

LOG_2, LOG_2_PI = math.log(2), math.log(2 * math.pi)
Rows = Float32[np.ndarray, "n d"]


class SACByHand:
    """SAC without autograd. Made by `SACByHand.of`."""

    def __init__(self, network: SoftActorCritic, targets: nn.Module) -> None:
        self._actor = mlp_of(network.actor.body.mlp, network.actor.head)
        self._critics, self._targets = _mlps(network.critics), _mlps(targets)
        self._numbers = network.fit.noise

    @staticmethod
    def of(network: SoftActorCritic, targets: nn.Module) -> "SACByHand | None":
        """For networks that it serves, whose parameters are joined (`Flat`); None for any other."""
        mlps = [network.actor.body.mlp, *(one.mlp for one in network.critics if isinstance(one, Critic))]
        serves = network.actor.body.plain and only_mlps(network, *mlps) and only_mlps(targets)
        return SACByHand(network, targets) if serves else None

    def act(self, observation: np.ndarray, noise: Rows) -> Rows:
        """Actions before the tanh, as `SoftActorCritic.act` makes them."""
        mean, log_scale, _ = self._outputs(rows_of(observation))
        return mean + np.exp(log_scale) * noise

    def targets(
        self,
        observation: np.ndarray,
        reward: Float[np.ndarray, " n"],
        discount: Float[np.ndarray, " n"],
        noise: Rows,
        temperature: float,
    ) -> Float32[np.ndarray, " n"]:
        """What the critics' values are to become, from what was observed next."""
        x = rows_of(observation)
        mean, log_scale, _ = self._outputs(x)
        u = mean + np.exp(log_scale) * noise
        seen = np.concatenate([x, np.tanh(u)], 1)
        first, second = (critic.forward(seen)[:, 0] for critic in self._targets)
        return reward + discount * (np.minimum(first, second) - np.float32(temperature) * _log_p(u, log_scale, noise))

    def critics(self, observation: np.ndarray, raw: Rows, target: Float[np.ndarray, " n"]) -> float:
        """Write the critics' gradient; return their loss."""
        seen, loss = np.concatenate([rows_of(observation), np.tanh(raw)], 1), 0.0
        for critic in self._critics:
            error = critic.forward(seen)[:, 0] - target
            critic.backward(error[:, None] / np.float32(len(error)))
            loss += 0.5 * float(np.square(error).mean())
        return loss

    def actor(self, observation: np.ndarray, noise: Rows, temperature: float) -> tuple[float, float]:
        """Write the actor's gradient; return its loss and the mean log-probability."""
        x = rows_of(observation)
        mean, log_scale, inside = self._outputs(x)
        scale = np.exp(log_scale)
        u = mean + scale * noise
        action, log_p = np.tanh(u), _log_p(u, log_scale, noise)
        seen = np.concatenate([x, action], 1)
        first, second = (critic.forward(seen)[:, 0] for critic in self._critics)
        n, d = np.float32(len(x)), self._numbers
        smaller, slope = first <= second, np.empty((len(x), d), np.float32)
        for critic, chosen in zip(self._critics, (smaller, ~smaller), strict=True):
            rows = np.flatnonzero(chosen)  # the gradient goes through the smaller value alone
            slope[rows] = critic.backward_to_input(np.full((len(rows), 1), 1 / n, np.float32), rows, d)
        cost = np.float32(temperature) / n
        back = 2 * cost * action - (1 - action * action) * slope
        self._actor.backward(np.concatenate([back, (back * scale * noise - cost) * inside], 1))
        return float((temperature * log_p - np.minimum(first, second)).mean()), float(log_p.mean())

    def _outputs(self, x: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means, log-scales, and where those are not clamped."""
        out = self._actor.forward(x)
        mean, asked = out[:, : self._numbers], out[:, self._numbers :]
        log_scale = np.minimum(np.maximum(asked, np.float32(LOG_SCALE[0])), np.float32(LOG_SCALE[1]))
        return mean, log_scale, log_scale == asked


def rows_of(observation: np.ndarray) -> Float32[np.ndarray, "n k"]:
    """Numbers as the networks read them."""
    return observation.reshape(len(observation), -1).astype(np.float32, copy=False)


def _log_p(u: Rows, log_scale: Rows, noise: Rows) -> Float[np.ndarray, " n"]:
    jacobian = 2 * (np.float32(LOG_2) - u - np.logaddexp(np.float32(0), -2 * u))
    return -(0.5 * noise * noise + log_scale + np.float32(0.5 * LOG_2_PI) + jacobian).sum(1)


def _mlps(critics: nn.Module) -> list[MLP]:
    return [mlp_of(one.mlp, one.head) for one in critics.children() if isinstance(one, Critic)]
