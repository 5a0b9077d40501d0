"""What does a scheme know at all? Exact statements about an untrained transformer, in float64.

*Shuffle*: put the patches in another order. Without positions the tokens come out in that order, and are otherwise the
same: a transformer without positions is a function of the set of its patches. *Mirror*: put them in the order of the
mirror image, left and right exchanged (each patch's own pixels stay). A scheme to which that too is a mere reordering
knows how far things are apart, and not which way. *Turn*: the same for a quarter turn.

The difference is the largest over all tokens, between the transformer of the reordered image and the reordered tokens
of the image, over the largest token; weights are redrawn far from zero, so that nothing hides. Left out: what
training makes of what could be known.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from sightline.studies.positions.grids import CELL, shuffled
from sightline.studies.positions.schemes import SCHEMES

EXACT = 1e-12  # what rounding alone explains
SIDE = 6  # cells along each side of the image that is reordered


@dataclass(frozen=True)
class Knows:
    """How far the tokens are from merely reordered, relative to the largest."""

    shuffle: float
    mirror: float
    turn: float

    @property
    def words(self) -> str:
        """What the scheme could know, in words."""
        if self.shuffle < EXACT:
            return "nothing of where"
        if self.mirror < EXACT and self.turn < EXACT:
            return "how far, not which way"
        return "where"


def orders(side: int) -> dict[str, Int[Tensor, " n"]]:
    """The three reorderings of a square of cells."""
    places = torch.arange(side * side).unflatten(0, (side, side))
    return {
        "shuffle": torch.randperm(side * side, generator=Generator().manual_seed(3)),
        "mirror": places.flip(1).flatten(),
        "turn": places.rot90().flatten(),
    }


def knows(scheme: str, seed: int = 0) -> Knows:
    """Ask one scheme.

    Raises:
        ValueError: an unknown scheme.
    """
    generator = Generator().manual_seed(seed)
    network = SCHEMES[scheme]((SIDE, SIDE)).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            size = parameter[0].numel() if parameter.dim() > 1 else 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * size**-0.5)
    image = torch.rand(2, 3, SIDE * CELL, SIDE * CELL, generator=generator, dtype=torch.float64)

    def tokens(of: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n k"]:
        with torch.no_grad():
            return network.tokens(of)

    plain = tokens(image)
    apart = {
        name: float((tokens(shuffled(image, order)) - plain[:, order]).abs().max() / plain.abs().max())
        for name, order in orders(SIDE).items()
    }
    return Knows(**apart)
