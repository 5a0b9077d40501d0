"""How a network is trained: optimiser, learning rate, regularisation and losses, in one frozen bundle of numbers.

- `sgd_poly`: stochastic gradient descent with momentum, and a rate that falls as (1 - n / N)^0.9: CCNet's training
  (Huang et al., 2019, https://arxiv.org/abs/1811.11721, section 4.2), here with its released code's numbers.
- `adamw_cosine`: AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) and half a cosine after a linear
  warm-up: DeiT's training (Touvron et al., 2021, https://arxiv.org/abs/2012.12877, table 9).

An update sees `batch` images, whatever they are cut into: `accumulate` parts one after the other, and a share of each
for every process. The learning rate is a function of the update's number alone, so no checkpoint has to hold it.

Left out: other rates for single layers, restarts, optimisers other than these two.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sightline.ops.arguments import choose

TABLES = (
    "pos_embed",
    "token",
    "table",
    "bias",
    "freqs",
)  # parts of names of what is looked up or added, not multiplied


@dataclass(frozen=True)
class Losses:
    """Which losses are added up, and how much each counts."""

    smoothing: float = 0.0
    """Label smoothing of the cross-entropy, in [0, 1]."""
    ohem: bool = False
    """Whether only hard pixels count in the main cross-entropy (`measures/losses.py`)."""
    ohem_threshold: float = 0.7
    """Probability of the true class up to which a pixel is hard."""
    ohem_least: int = 100_000
    """Pixels of a whole batch that are kept at least."""
    auxiliary: float = 0.4
    """Factor of the auxiliary head's cross-entropy, where there is such a head."""
    dice: float = 0.0
    """Factor of the Dice loss."""
    category: float = 0.0
    """Factor of the category-consistent loss."""
    class_weights: tuple[float, ...] | None = None
    """What a pixel of each class weighs in the cross-entropy; None: all the same."""

    def __post_init__(self) -> None:
        for name in ("auxiliary", "dice", "category"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"the factor of a loss is 0 (left out) or more, got {name}={getattr(self, name)}")


@dataclass(frozen=True)
class Recipe:
    """All of a training but the network, the data and the seed."""

    steps: int
    """Updates of the weights."""
    batch: int
    """Images of one update, over all parts and processes."""
    optimizer: str
    """"sgd" or "adamw"."""
    learning_rate: float
    """The highest rate."""
    schedule: str
    """"poly", "cosine" or "constant"."""
    accumulate: int = 1
    """Parts of a batch that go through the network one after the other: less memory, the same update (batch norms
    alone see smaller batches)."""
    warm_up: int = 0
    """Updates in which the rate grows linearly to its highest."""
    last_rate: float = 0.0
    """What the schedule falls to, in units of the rate."""
    power: float = 0.9
    """Of "poly"."""
    momentum: float = 0.9
    """Of SGD."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    weight_decay: float = 0.0
    """What is taken from the weights: added to the gradient by SGD, times the rate by AdamW."""
    decay_everything: bool = True
    """Whether norms, biases, tables of positions and tokens decay as well."""
    clip: float | None = None
    """Largest norm of the whole gradient; longer ones are shortened to it. None: as they are."""
    average: float | None = None
    """Decay of the moving average of the weights (EMA), which then is what is evaluated and loaded; None: none."""
    amp: str = "none"
    """Automatic mixed precision: "none", "bfloat16", "float16" (CUDA only), or "auto" (bfloat16 on a CPU, float16 on
    CUDA)."""
    mixup: float = 0.0
    """Alpha of mixup, classification only; 0: none."""
    cutmix: float = 0.0
    """Alpha of CutMix, classification only; 0: none. With both, a coin decides for each part of a batch."""
    losses: Losses = Losses()
    """What is minimised."""

    def __post_init__(self) -> None:
        choose("optimizer", self.optimizer, ("sgd", "adamw"))
        choose("schedule", self.schedule, ("poly", "cosine", "constant"))
        choose("precision (amp)", self.amp, ("none", "bfloat16", "float16", "auto"))
        for name in ("steps", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"a training has 1 or more {name}, got {getattr(self, name)}")
        if self.accumulate > self.batch:
            raise ValueError(
                f"a batch of {self.batch} images cannot be cut into {self.accumulate} parts: at most one each"
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"a learning rate is above 0, got {self.learning_rate}")
        if not 0 <= self.warm_up < self.steps:
            raise ValueError(f"the rate can grow for 0 to {self.steps - 1} of {self.steps} updates, got {self.warm_up}")
        for name, most in (("last_rate", self.learning_rate), ("momentum", 1.0), ("weight_decay", math.inf)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} lies in [0, {most}], got {getattr(self, name)}")
        if self.average is not None and not 0 <= self.average < 1:
            raise ValueError(f"an average of the weights decays by a factor in [0, 1), 0.999 say, got {self.average}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"a gradient is clipped to a norm above 0, or not at all (None), got {self.clip}")
        if min(self.mixup, self.cutmix) < 0:
            raise ValueError(f"alpha of mixup and CutMix is 0 (none) or more, got {self.mixup} and {self.cutmix}")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed."""
        return self.mixup > 0 or self.cutmix > 0


def sgd_poly(
    steps: int = 60_000,
    batch: int = 8,
    *,
    learning_rate: float = 1e-2,
    weight_decay: float = 5e-4,
    **changes: Any,
) -> Recipe:
    """CCNet's recipe; `changes` are other fields of `Recipe`."""
    return Recipe(steps, batch, "sgd", learning_rate, "poly", weight_decay=weight_decay, **changes)


def adamw_cosine(
    steps: int,
    batch: int,
    *,
    learning_rate: float | None = None,
    weight_decay: float = 0.05,
    warm_up: int | None = None,
    decay_everything: bool = False,
    **changes: Any,
) -> Recipe:
    """DeiT's recipe; `changes` are other fields of `Recipe`.

    Args:
        steps: Updates.
        batch: Images of an update.
        learning_rate: Where None, DeiT's rule: 5e-4 for every 512 images of the batch.
        weight_decay: Times the rate is taken from the weights that decay.
        warm_up: Updates; where None, a sixtieth of them (DeiT: 5 of 300 epochs).
        decay_everything: Norms, biases, tables and tokens decay as well.
        changes: Checked by `Recipe`.
    """
    rate = 5e-4 * batch / 512 if learning_rate is None else learning_rate
    return Recipe(
        steps,
        batch,
        "adamw",
        rate,
        "cosine",
        weight_decay=weight_decay,
        warm_up=steps // 60 if warm_up is None else warm_up,
        decay_everything=decay_everything,
        **changes,
    )


def learning_rate_at(recipe: Recipe, update: int) -> float:
    """The rate of update n, counted from 0, of N with W for warming up.

    While n < W it is rate (n + 1) / (W + 1). From then on, with p = (n - W) / (N - W), it is last + (rate - last) f(p):
    f = (1 - p)^power for "poly", (1 + cos(pi p)) / 2 for "cosine", 1 for "constant".

    Raises:
        ValueError: there is no such update.
    """
    if not 0 <= update < recipe.steps:
        raise ValueError(f"a training of {recipe.steps} updates has the updates 0 to {recipe.steps - 1}, got {update}")
    if update < recipe.warm_up:
        return recipe.learning_rate * (update + 1) / (recipe.warm_up + 1)
    done = (update - recipe.warm_up) / (recipe.steps - recipe.warm_up)
    if recipe.schedule == "constant":
        return recipe.learning_rate
    left = (1 - done) ** recipe.power if recipe.schedule == "poly" else (1 + math.cos(math.pi * done)) / 2
    return recipe.last_rate + (recipe.learning_rate - recipe.last_rate) * left


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser over the parameters that learn; its rate is set before every update.

    Without `decay_everything` two groups: what is multiplied with features decays; parameters with one axis (norms,
    biases, layer scales, gamma), tables of positions and tokens do not.
    """
    decaying: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (kept if not recipe.decay_everything and is_kept(name, parameter) else decaying).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decaying, "weight_decay": recipe.weight_decay}] if decaying else []
    groups += [{"params": kept, "weight_decay": 0.0}] if kept else []
    if not groups:
        raise ValueError("the network has no parameter that learns: let some require gradients")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, recipe.learning_rate, betas=recipe.betas)


def is_kept(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a norm's, a bias, a table of positions or a token: such things are not pulled to zero."""
    return parameter.ndim <= 1 or any(part in name.rpartition(".")[2] for part in TABLES)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
