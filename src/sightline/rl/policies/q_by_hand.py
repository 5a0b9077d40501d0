"""DQN's built-in MLP in NumPy, on the memory of its PyTorch parameters: acting, targets, and the gradient of its loss.

As `by_hand.py` does for PPO. With e_i = Q(s_i, a_i) - y_i and Huber's loss H,

    L = mean w_i H(e_i),   dL/dQ(s_i, a_i) = w_i clip(e_i, -1, 1) / n
    duelling: dL/dA_j = dL/dQ_j - mean dL/dQ,   dL/dV = sum dL/dQ

Images, masks and CUDA go through autograd (`dqn.py`), which is the oracle of this file's tests.
"""

import numpy as np
from jaxtyping import Float, Float32, Int

from sightline.rl.policies.by_hand import mlp_of, only_mlps
from sightline.rl.policies.q_network import QNetwork


class QByHand:
    """A network of action values without autograd. Made by `QByHand.of`."""

    def __init__(self, network: QNetwork) -> None:
        self._mlp, self._duelling = mlp_of(network.actor_body.mlp, network.head), network.duelling
        self._epsilon, self._actions = network.epsilon.numpy(), network.fit.outputs

    @staticmethod
    def of(network: QNetwork) -> "QByHand | None":
        """For a network that it serves, whose parameters are joined (`Flat`); None for any other."""
        serves = network.actor_body.plain and only_mlps(network, network.actor_body.mlp)
        return QByHand(network) if serves else None

    def values(self, observation: np.ndarray) -> Float32[np.ndarray, "n a"]:
        """What return to expect from each action."""
        out = self._mlp.forward(observation.reshape(len(observation), -1).astype(np.float32, copy=False))
        if self._duelling:
            advantage = out[:, :-1]
            out = out[:, -1:] + advantage - advantage.mean(1, keepdims=True)
        return out

    def act(self, observation: np.ndarray, noise: Float[np.ndarray, "b a"]) -> Int[np.ndarray, " b"]:
        """Actions as `QNetwork.act` makes them."""
        values = self.values(observation)
        epsilon = self._epsilon
        with np.errstate(divide="ignore"):
            each, best = np.log(epsilon / self._actions), np.log(1 - epsilon + epsilon / self._actions)
        logits = np.full(values.shape, each, np.float32)
        logits[np.arange(len(values)), values.argmax(1)] = best
        logits += noise
        return logits.argmax(1)

    def gradient(
        self,
        observation: np.ndarray,
        action: Int[np.ndarray, " n"],
        target: Float[np.ndarray, " n"],
        weight: Float[np.ndarray, " n"] | None,
    ) -> tuple[float, Float32[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
        """Write the gradient of the loss; return the loss, the errors and the values of the actions."""
        values, here = self.values(observation), np.arange(len(action))
        taken = values[here, action]
        error = taken - target
        near = np.minimum(np.maximum(error, -1), 1)
        loss = near * (error - near / 2)  # e^2 / 2 within 1, |e| - 1/2 beyond
        share = near / np.float32(len(action))
        if weight is not None:
            loss, share = loss * weight, share * weight
        back = np.zeros((len(action), self._actions + self._duelling), np.float32)
        back[here, action] = share
        if self._duelling:
            back[:, :-1] -= share[:, None] / np.float32(self._actions)
            back[:, -1] = share
        self._mlp.backward(back)
        return float(loss.mean()), error, taken
