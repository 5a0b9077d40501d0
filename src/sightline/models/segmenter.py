"""A network that gives every pixel its class: an encoder, a head on its last map, and, for training, a second head.

The auxiliary head stands on the stage before the last and helps the encoder to learn (Zhao et al., 2017, PSPNet,
https://arxiv.org/abs/1612.01105, section 3.3); `forward` leaves it out. Logits grow to the image's size bilinearly.

Left out: decoders that join shallow maps, and losses.
"""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.models.encoder import Encoder, map_and_maps
from sightline.models.heads import FeatureHead


class Answers(NamedTuple):
    """What a network in training says: logits of every pixel from its heads, and what the main one classified."""

    logits: Float[Tensor, "b k h w"]
    auxiliary: Float[Tensor, "b k h w"] | None  # None without an auxiliary head
    features: Float[Tensor, "b d y x"] | None  # None where the head does not say them


class Segmenter(nn.Module):
    """An encoder under a head: `[b, c, h, w] -> [b, classes, h, w]`.

    Args:
        encoder: `models/encoder.py` says what it promises.
        head: `models/heads.py` says what it promises.
        auxiliary: a second head for the stage before the last; the encoder then needs `.maps` with two or more stages.
        align_corners: whether corner positions are put on corner pixels, as in CCNet; otherwise edges on edges.
    """

    def __init__(
        self, encoder: Encoder, head: nn.Module, *, auxiliary: nn.Module | None = None, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.auxiliary, self.align_corners = encoder, head, auxiliary, align_corners

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Logits of every pixel."""
        return self._grow(self.head(self.encoder(image)), image)

    def answers(self, image: Float[Tensor, "b c h w"]) -> Answers:
        """Logits of every pixel from both heads, and the head's features, in one pass.

        Raises:
            ValueError: there is an auxiliary head, and the encoder has one stage alone.
        """
        other = None
        if self.auxiliary is None:
            x = self.encoder(image)
        else:
            x, stages = map_and_maps(self.encoder, image)
            if len(stages) < 2:
                raise ValueError(
                    "the auxiliary head stands on the stage before the last, and this encoder has one map alone: leave"
                    " it out (auxiliary=None), or give the encoder a method `maps`"
                )
            other = self._grow(self.auxiliary(stages[-2]), image)
        if not isinstance(self.head, FeatureHead):
            return Answers(self._grow(self.head(x), image), other, None)
        features = self.head.features(x)
        return Answers(self._grow(self.head.classify(x, features), image), other, features)

    def _grow(self, logits: Tensor, image: Tensor) -> Tensor:
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=self.align_corners)
