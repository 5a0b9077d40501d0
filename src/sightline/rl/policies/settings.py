"""How a policy is built, as it stands in a run's config.

Left out: settings of an encoder, which is named with its arguments.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PolicySettings:
    """What a policy is made of; what is left open depends on what is observed."""

    hidden: tuple[int, ...] = ()
    """Widths of the MLP's layers; none: 64 64 for numbers, 128 behind an encoder. 0: no layer."""
    activation: str = ""
    """tanh, relu, gelu or silu; none: tanh for numbers, relu behind an encoder."""
    encoder: str = ""
    """Of images: a short name (convolution, nature, non-local, criss-cross, vit), or package.module:object with
    arguments as JSON."""
    pool: str = "flatten"
    """What of the encoder's map is read: flatten, max, mean or summary."""
    centred: bool = False
    """Bring the bytes of images to -1 to 1, where they otherwise become 0 to 1."""
    shared: bool | None = None
    """Whether actor and critic share their features; none: as images are observed."""
    memory: int = 0
    """Units of a recurrent memory (GRU) of the episode, behind the MLP; 0: none."""
    scale: str = "free"
    """Of a Gaussian: free, parameters that depend on no observation, or state, given by the network."""
    squash: bool = False
    """Squash a Gaussian by tanh into the box of actions, rather than clip its actions there."""
