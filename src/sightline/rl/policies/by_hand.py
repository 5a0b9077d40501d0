"""The built-in MLP policy in NumPy, on the memory of its PyTorch parameters: acting, and the gradient of PPO's loss.

For two small MLPs autograd costs several times the arithmetic. Here both passes are written out: with weights w_i =
valid_i / count, ratio r_i = exp(log p_i - log p_old_i) and z the actor's outputs,

    L = -sum w min(r A, clip(r) A) + c sum w value_i - e sum w H_i

    dL/dlog p_i = -w_i r_i A_i where the minimum is r A, else 0
    categorical: dlog p / dz_j = [j = a] - p_j,       dH / dz_j = -p_j (log p_j + H)
    Gaussian:    dlog p / dmean = u / s,  dlog p / dlog s = u^2 - 1,  dH / dlog s = 1,    u = (a - mean) / s

Everything else (images, masks, memories, shared bodies, squashed or state-dependent scales, CUDA, other losses) goes
through autograd, which is the oracle of this file's tests.

Left out: other losses than PPO's.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int
from torch import nn

from sightline.rl.distributions.fit import LOG_SCALE
from sightline.rl.policies.policy import Policy

LOG_2_PI = math.log(2 * math.pi)
LARGE, THIN = 2**18, 32  # multiplications, and the smallest side of a product
MANY = 2048  # numbers
STATISTICS = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")
Rows = Float[np.ndarray, "n k"]


@dataclass(frozen=True)
class Layer:
    """A linear layer's arrays, which are PyTorch's own memory."""

    weight: np.ndarray  # [out, in]
    bias: np.ndarray
    weight_gradient: np.ndarray
    bias_gradient: np.ndarray


class MLP:
    """Layers with one activation between them and none after the last."""

    def __init__(self, layers: list[nn.Linear], activation: str) -> None:
        self.layers = [Layer(*(p.detach().numpy() for p in _parameters(layer))) for layer in layers]
        self.tanh = activation == "tanh"
        self._activate = _tanh if self.tanh else _relu
        self._kept: list[np.ndarray] = []  # the inputs of every layer, for the way back
        self._ones = np.ones(0, np.float32)

    def forward(self, x: Float[np.ndarray, "n i"]) -> Float[np.ndarray, "n o"]:
        """Outputs; what every layer read is kept for `backward`."""
        kept = [x]
        for layer in self.layers[:-1]:
            x = _linear(x, layer)
            self._activate(x)
            kept.append(x)
        self._kept = kept
        return _linear(x, self.layers[-1])

    def backward(self, gradient: Rows) -> None:
        """Write the gradient of every weight, from that of the outputs of the last `forward`."""
        if len(self._ones) != len(gradient):
            self._ones = np.ones(len(gradient), np.float32)
        for place in range(len(self.layers) - 1, -1, -1):
            layer, x = self.layers[place], self._kept[place]
            _times(gradient.T, x, layer.weight_gradient)
            np.dot(self._ones, gradient, out=layer.bias_gradient)
            if place:
                gradient = self._below(place, gradient, x)

    def backward_to_input(self, gradient: Rows, rows: Int[np.ndarray, " n"], last: int) -> Float[np.ndarray, "n i"]:
        """The gradient of the last numbers of some rows that the last `forward` read; that of the weights stays.

        Args:
            gradient: of these rows' outputs.
            rows: their places.
            last: how many numbers of each.
        """
        for place in range(len(self.layers) - 1, 0, -1):
            gradient = self._below(place, gradient, self._kept[place][rows])
        return np.dot(gradient, self.layers[0].weight[:, -last:])

    def _below(self, place: int, gradient: Rows, x: Float[np.ndarray, "n i"]) -> Float[np.ndarray, "n i"]:
        """From a layer's outputs to those of the layer before, in front of its activation, whose results are `x`."""
        gradient = _times(gradient, self.layers[place].weight)
        if self.tanh:
            slope = x * x
            np.subtract(1.0, slope, out=slope)
            gradient *= slope
        else:
            gradient *= x > 0
        return gradient


class ByHand:
    """Acts as a policy does, and makes PPO's gradient, without autograd. Made by `ByHand.of`."""

    def __init__(self, policy: Policy, actor: MLP, critic: MLP) -> None:
        self._actor, self._critic = actor, critic
        scale = policy.log_scale
        self._log_scale = None if scale is None else scale.detach().numpy()
        self._scale_gradient = None if scale is None or scale.grad is None else scale.grad.numpy()

    @staticmethod
    def of(policy: Policy) -> "ByHand | None":
        """For a policy that it serves, whose parameters are joined (`Flat`); None for any other."""
        return None if not_by_hand(policy) else ByHand(policy, *_mlps(policy))

    def act(self, observation: np.ndarray, noise: Float[np.ndarray, "b k"]) -> np.ndarray:
        """Actions as `Policy.draw` makes them."""
        out = self._actor.forward(observation.reshape(len(observation), -1).astype(np.float32, copy=False))
        if self._log_scale is None:
            out += noise
            return out.argmax(1)
        return out + np.exp(_clamped(self._log_scale)) * noise

    def gradient(
        self, rows: dict[str, Any], *, clip: float, value_clip: float | None, value: float, entropy: float, count: float
    ) -> np.ndarray:
        """Write the gradient of PPO's loss over some rows, as `rows_of` gives them with "advantage" and "target".

        Args:
            rows: of one minibatch.
            clip: how far a ratio may move.
            value_clip: how far a value may move; None: as far as it likes.
            value: factor of the value's loss.
            entropy: factor of the entropy.
            count: rows that count, of all processes.

        Returns:
            The sums over these rows, divided by the count, of what `STATISTICS` names.
        """
        x = rows["observation"].numpy().reshape(len(rows["values"]), -1).astype(np.float32, copy=False)
        weight: Any = np.float32(1 / count)
        if "valid" in rows:
            weight = rows["valid"].numpy() * weight
        old, advantage = rows["log_probability"].numpy(), rows["advantage"].numpy()
        out = self._actor.forward(x)
        log_p, back = self._log_probability(out, rows["action"].numpy())
        log_ratio = log_p - old
        if "valid" in rows:  # 0 x inf would not be a number
            log_ratio = np.where(rows["valid"].numpy(), log_ratio, np.float32(0))
        moved = np.expm1(log_ratio)
        ratio = moved + 1
        plain, near = ratio * advantage, np.minimum(np.maximum(ratio, 1 - clip), 1 + clip) * advantage
        surrogate = np.minimum(plain, near)
        toward = np.where(plain <= near, -plain, 0.0)
        toward *= weight
        entropies = back(toward, np.float32(entropy) * weight if entropy else None)
        loss, slope = _value(self._critic.forward(x)[:, 0], rows, value_clip)
        slope *= np.float32(value) * weight
        self._critic.backward(slope[:, None])
        sums = np.stack([-surrogate, loss, entropies, moved - log_ratio, (np.abs(moved) > clip).astype(np.float32)])
        return (sums * weight).sum(1)

    def _log_probability(self, out: Rows, action: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities; and what takes dL/dlog p and the entropy's weight back to the actor, giving entropies."""
        if self._log_scale is None:
            out -= out.max(1, keepdims=True)
            p = np.exp(out)
            total = p.sum(1, keepdims=True)
            p /= total
            out -= np.log(total)
            here = np.arange(len(out))

            def categorical(toward: np.ndarray, entropy: Any) -> np.ndarray:
                entropies = -(p * out).sum(1)
                back = p * -toward[:, None]
                back[here, action] += toward
                if entropy is not None:
                    back += (np.broadcast_to(entropy, toward.shape) * 1.0)[:, None] * p * (out + entropies[:, None])
                self._actor.backward(back)
                return entropies

            return out[here, action], categorical
        log_scale = _clamped(self._log_scale)
        inverse = np.exp(-log_scale)
        u = (action - out) * inverse

        def gaussian(toward: np.ndarray, entropy: Any) -> np.ndarray:
            weighted = u * toward[:, None]
            self._actor.backward(weighted * inverse)
            slope = (weighted * u).sum(0) - toward.sum()
            if entropy is not None:
                slope -= np.broadcast_to(entropy, toward.shape).sum()
            assert self._scale_gradient is not None
            self._scale_gradient[...] = slope * (log_scale == self._log_scale)
            return np.full(len(u), log_scale.sum() + 0.5 * (1 + LOG_2_PI) * len(log_scale), np.float32)

        return -0.5 * np.square(u).sum(1) - np.float32(log_scale.sum() + 0.5 * LOG_2_PI * len(log_scale)), gaussian


def not_by_hand(policy: Policy) -> str | None:
    """Why a policy goes through autograd; None where it need not."""
    space = policy.fit.space
    bodies = [policy.actor_body, policy.critic_body]
    reasons = {
        "actor and critic share their features": policy.shared,
        "it has a memory": policy.remembers,
        "it reads more than one array of numbers": any(b is not None and not b.plain for b in bodies),
        "its activation is neither tanh nor relu": any(
            b is not None and any(not isinstance(m, nn.Linear | nn.Tanh | nn.ReLU) for m in b.mlp) for b in bodies
        ),
        "its actions are no plain choice": not isinstance(space, spaces.Discrete | spaces.Box),
        "its Gaussian is squashed or has a scale from the network": isinstance(space, spaces.Box)
        and (policy.fit.squash is not None or not policy.fit.free),
        "some of its parameters do not learn": any(p.grad is None for p in policy.parameters()),
        "it has no hidden layer": any(b is not None and not len(b.mlp) for b in bodies),
        "it does not compute in float32 on a CPU": any(
            p.device.type != "cpu" or p.dtype != torch.float32 for p in policy.parameters()
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def mlp_of(hidden: nn.Sequential, head: nn.Linear) -> MLP:
    """Hidden layers of `make_mlp` and a head, on their own memory; their parameters are joined (`Flat`)."""
    layers = [layer for layer in hidden if isinstance(layer, nn.Linear)]
    return MLP([*layers, head], "tanh" if any(isinstance(one, nn.Tanh) for one in hidden) else "relu")


def only_mlps(module: nn.Module, *hidden: nn.Sequential) -> bool:
    """Whether `mlp_of` serves these hidden layers and all parameters of the module learn in float32 on the CPU."""
    return all(isinstance(one, nn.Linear | nn.Tanh | nn.ReLU) for some in hidden for one in some) and all(
        p.grad is not None and p.device.type == "cpu" and p.dtype == torch.float32 for p in module.parameters()
    )


def _mlps(policy: Policy) -> tuple[MLP, MLP]:
    assert policy.critic_body is not None
    return mlp_of(policy.actor_body.mlp, policy.actor), mlp_of(policy.critic_body.mlp, policy.critic)


def _parameters(layer: nn.Linear) -> list[torch.Tensor]:
    gradients = [p.grad for p in (layer.weight, layer.bias)]
    return list(itertools.chain([layer.weight, layer.bias], (g for g in gradients if g is not None)))


def _clamped(log_scale: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(log_scale, np.float32(LOG_SCALE[0])), np.float32(LOG_SCALE[1]))


def _linear(x: Rows, layer: Layer) -> Float[np.ndarray, "n o"]:
    """What a layer makes of its input; a large one by PyTorch, which adds the bias on the way."""
    if len(x) * layer.weight.size < LARGE:
        y = np.dot(x, layer.weight.T)
        y += layer.bias
        return y
    rows, weight, bias = (torch.from_numpy(one) for one in (x, layer.weight, layer.bias))
    return torch.addmm(bias, rows, weight.T).numpy()


def _times(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """A matrix product; a large one by PyTorch, which takes as little as a quarter of NumPy's time for it.

    Where one side is thin, NumPy takes as little as a quarter of PyTorch's.
    """
    if len(a) * b.size < LARGE or min(*a.shape, b.shape[1]) < THIN:
        return np.dot(a, b, out=out)
    to = None if out is None else torch.from_numpy(out)
    return torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=to).numpy()


def _relu(x: Rows) -> None:
    """In place; of many numbers by PyTorch: a seventh of NumPy's time."""
    if x.size < MANY:
        np.maximum(x, 0.0, out=x)
    else:
        torch.from_numpy(x).relu_()


def _tanh(x: Rows) -> None:
    """In place; of many numbers as 2 sigmoid(2 x) - 1 by PyTorch: half of NumPy's time, and 1e-7 from it."""
    if x.size < MANY:
        np.tanh(x, out=x)
        return
    x *= 2
    shared = torch.from_numpy(x)
    torch.sigmoid(shared, out=shared)
    x *= 2
    x -= 1


def _value(values: np.ndarray, rows: dict[str, Any], clip: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Half the squared error of every row, clipped or not, and its slope."""
    target = rows["target"].numpy()
    error = values - target
    if clip is None:
        return 0.5 * error * error, error
    old = rows["values"].numpy()
    near = old + np.clip(values - old, -clip, clip) - target
    farther = near * near > error * error
    slope = np.where(farther, near * (np.abs(values - old) <= clip), error)
    return 0.5 * np.where(farther, near * near, error * error), slope
