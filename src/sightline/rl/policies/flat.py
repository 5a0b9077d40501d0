"""All parameters of a module as views of one tensor: one optimiser step, one norm, one sum over processes.

Small networks are bound by the number of calls and not by arithmetic; twelve small tensors cost twelve times the
overhead of one. The module works, saves and loads as before. `Adam` (Kingma & Ba, 2015,
https://arxiv.org/abs/1412.6980, algorithm 1) is PyTorch's on such a tensor without its hooks, which cost more than
its arithmetic there: the same numbers to rounding.

Left out: modules that are moved to another device or type afterwards, which lose the views; `Flat.check` says so.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.run.processes import add_up


class Flat:
    """The parameters of a module and their gradients, each in one piece.

    Args:
        module: on its device already. Parameters that need no gradient are left alone.

    Raises:
        ValueError: nothing to learn, or parameters of several types or devices.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        parameters = self._learning()
        kinds = {(p.dtype, p.device) for p in parameters}
        if len(kinds) != 1:
            raise ValueError(f"a policy learns parameters of one type on one device, got {sorted(map(str, kinds))}")
        dtype, device = kinds.pop()
        size = sum(p.numel() for p in parameters)
        self.parameter = nn.Parameter(torch.empty(size, dtype=dtype, device=device))
        self.parameter.grad = torch.zeros_like(self.parameter)
        place = 0
        for p in parameters:
            values, gradients = (
                whole[place : place + p.numel()].as_strided(p.shape, _dense(p), place)
                for whole in (self.parameter.detach(), self.parameter.grad)
            )
            values.copy_(p.detach())
            p.data, p.grad = values, gradients
            place += p.numel()

    @property
    def gradient(self) -> Float[Tensor, " n"]:
        """Of all parameters, in their order."""
        assert self.parameter.grad is not None
        return self.parameter.grad

    def clear(self) -> None:
        """Set every gradient to 0."""
        self.gradient.zero_()

    def add_up(self) -> None:
        """Replace the gradient by its sum over all processes, in one go."""
        total = add_up(self.gradient)
        if total is not self.gradient:
            self.gradient.copy_(total)

    def clip(self, largest: float) -> Float[Tensor, ""]:
        """Shrink the gradient to this norm where it is longer; return the norm that it had."""
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((largest / (norm + 1e-6)).clamp_(max=1.0))
        return norm

    def check(self) -> None:
        """Say whether the module's parameters and gradients are still views of these.

        Raises:
            ValueError: they are not.
        """
        wholes = (self.parameter.data_ptr(), self.gradient.data_ptr())
        place = 0
        for p in self._learning():
            here = (p.data_ptr(), 0 if p.grad is None else p.grad.data_ptr())
            if p.numel() and here != tuple(whole + place * p.element_size() for whole in wholes):
                raise ValueError(
                    "the policy's parameters or gradients are no longer where they were joined: move it to its device "
                    "and type before a Learner gets it, load weights by load_state_dict, and let its gradients be"
                )
            place += p.numel()

    def _learning(self) -> list[nn.Parameter]:
        return [p for p in self._module.parameters() if p.requires_grad]


class Adam:
    """Adam on one flat tensor.

    Args:
        flat: what learns.
        rate: the learning rate; may be set between steps.
        epsilon: added to the root of the mean square.
    """

    BETAS = (0.9, 0.999)

    def __init__(self, flat: Flat, rate: float, epsilon: float = 1e-5) -> None:
        self.rate, self.epsilon, self.steps = rate, epsilon, 0
        self._flat = flat
        self._mean, self._square = torch.zeros_like(flat.gradient), torch.zeros_like(flat.gradient)
        self._scratch = torch.zeros_like(flat.gradient)

    @torch.no_grad()
    def step(self) -> None:
        """One step with the gradient as it is."""
        (first, second), gradient = self.BETAS, self._flat.gradient
        self.steps += 1
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        unbiased = (1 - second**self.steps) ** 0.5
        # sqrt(v / (1 - b2^t)) + epsilon = (sqrt(v) + epsilon unbiased) / unbiased: two passes fewer
        torch.sqrt(self._square, out=self._scratch).add_(self.epsilon * unbiased)
        factor = self.rate * unbiased / (1 - first**self.steps)
        self._flat.parameter.addcdiv_(self._mean, self._scratch, value=-factor)

    def state_dict(self) -> dict[str, Any]:
        """Moments and the number of steps."""
        return {"steps": self.steps, "mean": self._mean.clone(), "square": self._square.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back.

        Raises:
            ValueError: they are of other parameters.
        """
        if state["mean"].shape != self._mean.shape:
            raise ValueError(f"the saved optimiser has {state['mean'].numel()} numbers, here are {self._mean.numel()}")
        self.steps = state["steps"]
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])


def _dense(p: Tensor) -> tuple[int, ...]:
    """The strides that a parameter has if it fills its memory, else those of a contiguous one."""
    strides = p.stride()
    span = sum((n - 1) * s for n, s in zip(p.shape, strides, strict=True)) + 1
    return strides if span == p.numel() else torch.empty(p.shape, device="meta").stride()
