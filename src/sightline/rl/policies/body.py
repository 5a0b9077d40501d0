"""From an observation to features: numbers as they are, choices as indicators, images through an encoder, then an MLP.

| space                   | becomes                                                          |
|-------------------------|------------------------------------------------------------------|
| Box of up to two axes   | its numbers                                                      |
| Box of three axes       | an image [c, h, w]; uint8 becomes 0 to 1, or -1 to 1             |
| Box of four axes        | stacked images: one image whose channels are those of all        |
| Discrete, MultiDiscrete | an indicator of every choice                                     |
| MultiBinary             | zeros and ones                                                   |
| Dict, Tuple             | all of the above beside each other; `action_mask` is left out    |

The channels of an image are its shorter outer axis, the last one where both are equal: Gymnasium's images have them
last, ALE's stacks of frames first.

Left out: texts, graphs and sequences.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sightline.layers.modes import evaluated
from sightline.ops.arguments import choose
from sightline.rl.trees import Arrays

MASK = "action_mask"  # the key of a dictionary under which an environment says which actions are legal
POOLS = ("flatten", "max", "mean", "summary")
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
Path = tuple[str | int, ...]


class Body(nn.Module):
    """An observation `[n, ...]`, array or tree of arrays, to features `[n, width]`.

    Args:
        space: of one environment's observations.
        hidden: widths of the MLP's layers.
        activation: between them and after the last: "tanh", "relu", "gelu" or "silu".
        encoder: `[b, c, h, w] -> [b, channels, y, x]`; needed where the space has images. Each image gets its own copy.
        pool: what of the map the MLP reads: all of it ("flatten"), its largest or mean value of every channel, or the
            encoder's own "summary", which is the mean where it has none.
        centred: whether bytes become -1 to 1 where they would otherwise become 0 to 1.

    Raises:
        ValueError: an image without an encoder, an encoder without an image, or a space that no network takes.
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        encoder: nn.Module | None = None,
        pool: str = "flatten",
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.pool, self.centred = choose("pool", pool, POOLS), centred
        found = list(parts_of(space))
        if not found:
            raise ValueError(
                f"the observation space {space} holds nothing to read: give an observation beside the mask"
            )
        self.numbers = [(path, part) for path, part in found if not is_image(part)]
        self.images = [(path, part) for path, part in found if is_image(part)]
        if self.images and encoder is None:
            raise ValueError(f"the observation has an image, {self.images[0][1].shape}: give an encoder (--encoder)")
        if encoder is not None and not self.images:
            raise ValueError(f"an encoder reads images and the observation space {space} has none: leave it out")
        copies = [encoder, *(copy.deepcopy(encoder) for _ in self.images[1:])] if encoder is not None else []
        self.encoders = nn.ModuleList(one for one in copies if one is not None)
        # Convolutions compute in the memory format of their weights, whatever comes in. The stub lacks it.
        self.encoders.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = sum(_count(part) for _, part in self.numbers)
        with torch.no_grad():
            for (_, part), one in zip(self.images, self.encoders, strict=True):
                with evaluated(one):
                    inputs += self._pooled(one, self.image(torch.zeros(1, *(part.shape or ())), part)).shape[1]
        self.mlp = make_mlp(inputs, hidden, activation)
        self.width = hidden[-1] if hidden else inputs
        self.plain = len(found) == 1 and found[0][0] == () and isinstance(found[0][1], spaces.Box) and not self.images

    def forward(self, observation: Arrays) -> Float[Tensor, "n width"]:
        """Features."""
        if self.plain:  # one array of numbers: nothing to put together
            return self.mlp(_rows(observation).float())
        seen = [_numbers(_at(observation, path), part) for path, part in self.numbers]
        for (path, part), encoder in zip(self.images, self.encoders, strict=True):
            seen.append(self._pooled(encoder, self.image(_at(observation, path), part)))
        return self.mlp(torch.cat(seen, 1) if len(seen) > 1 else seen[0])

    def image(self, x: Shaped[Tensor, "n ..."], space: spaces.Space[Any]) -> Float[Tensor, "n c h w"]:
        """As the encoder gets it."""
        image = as_image(x, space)
        return 2 * image - 1 if self.centred and space.dtype == np.uint8 else image

    def _pooled(self, encoder: nn.Module, image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        summary = getattr(encoder, "summary", None)
        if self.pool == "summary" and summary is not None:
            return summary(image)
        x = encoder(image)
        if self.pool == "flatten":
            return x.flatten(1)
        return x.amax((2, 3)) if self.pool == "max" else x.mean((2, 3))


def make_mlp(inputs: int, hidden: Sequence[int], activation: str) -> nn.Sequential:
    """Linear layers, each followed by the activation; orthogonal weights of gain sqrt(2), biases 0.

    Raises:
        ValueError: an unknown activation, or a width below 1.
    """
    kind = ACTIVATIONS[choose("activation", activation, ACTIVATIONS)]
    if any(width < 1 for width in hidden):
        raise ValueError(f"a hidden layer has 1 unit or more, got widths {list(hidden)}")
    layers: list[nn.Module] = []
    for fan_in, width in zip([inputs, *hidden], hidden, strict=False):
        layers += [orthogonal(nn.Linear(fan_in, width), math.sqrt(2)), kind()]
    return nn.Sequential(*layers)


def orthogonal(linear: nn.Linear, gain: float) -> nn.Linear:
    """Start a layer with orthogonal weights and a bias of 0 (Saxe et al., 2014, https://arxiv.org/abs/1312.6120)."""
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


def parts_of(space: spaces.Space[Any], path: Path = ()) -> Iterator[tuple[Path, spaces.Space[Any]]]:
    """The parts of a space that features are made of, in order; a mask of actions is none of them.

    Raises:
        ValueError: a part that no network takes.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in named:
            if (*path, key) != (MASK,):
                yield from parts_of(part, (*path, key))
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary) or (
        isinstance(space, spaces.Box) and len(space.shape) <= 4 and np.prod(space.shape) > 0
    ):
        yield path, space
    else:
        where = "".join(f"[{key!r}]" for key in path)
        raise ValueError(
            f"no policy reads the observation space{where} {space}: Box of up to 4 axes, Discrete, MultiDiscrete, "
            "MultiBinary, and Dict or Tuple of them are served; wrap the environment"
        )


def is_image(space: spaces.Space[Any]) -> bool:
    """Whether an encoder reads this part: three or four axes."""
    return isinstance(space, spaces.Box) and len(space.shape) >= 3


def image_channels(space: spaces.Space[Any]) -> int:
    """Channels of the image that an encoder gets of this part."""
    assert space.shape is not None
    stacked = space.shape[0] if len(space.shape) == 4 else 1
    return stacked * (space.shape[-1] if _channels_last(space.shape) else space.shape[-3])


def image_sides(space: spaces.Space[Any]) -> tuple[int, int]:
    """Height and width of the image that an encoder gets of this part."""
    assert space.shape is not None
    height, width = space.shape[-3:-1] if _channels_last(space.shape) else space.shape[-2:]
    return height, width


def mask_of(observation: Arrays) -> Tensor | None:
    """The mask of legal actions that an observation brings, if it does.

    An episode's last observation may forbid everything; what is chosen there is ignored, so everything is allowed.
    """
    if not isinstance(observation, dict) or MASK not in observation:
        return None
    mask = _rows(observation[MASK]).bool()
    return mask | ~mask.any(1, keepdim=True)


def _channels_last(shape: tuple[int, ...]) -> bool:
    return shape[-1] <= shape[-3]


def _at(observation: Arrays, path: Path) -> Tensor:
    for key in path:
        observation = observation[key]
    return observation


def _count(space: spaces.Space[Any]) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return int(np.prod(space.shape or ()))


def _numbers(x: Shaped[Tensor, "n ..."], space: spaces.Space[Any]) -> Float[Tensor, "n k"]:
    if isinstance(space, spaces.Discrete):
        return F.one_hot(x.long() - int(space.start), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        choices = (x - torch.as_tensor(space.start, device=x.device)).flatten(1).long()
        sizes = space.nvec.flatten().tolist()
        return torch.cat([F.one_hot(one, size) for one, size in zip(choices.T, sizes, strict=True)], 1).float()
    return _rows(x).float()


def _rows(x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "n k"]:
    return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)  # a space without axes gives one number a row


def as_image(x: Shaped[Tensor, "n ..."], space: spaces.Space[Any]) -> Float[Tensor, "n c h w"]:
    """Channels first in order, last in memory where they were so: convolutions like that best."""
    if _channels_last(tuple(space.shape or ())):
        x = x.movedim(-1, -3)
    if x.dim() == 5:
        x = x.flatten(1, 2)
    return x.float() / 255 if space.dtype == np.uint8 else x.float()
