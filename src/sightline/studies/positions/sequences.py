"""A sequence task that needs to know where, and the encodings of sequences on one small causal transformer.

Tokens are drawn at random. At every place two things are asked: which token stood `BACK` places before (how far,
whatever the place), and which token the sequence began with (one absolute place). Each place looks at itself and at
what came before, as in a language model: that is the setting of ALiBi (Press et al., 2022,
https://arxiv.org/abs/2108.12409) and of the claims about length, and it tells even a network without an encoding
something of the order (Haviv et al., 2022, https://arxiv.org/abs/2203.16634).

At lengths that were not trained the learned table is stretched (bicubic), and the rest goes on by its own formula.
Scores are those of the last places, as many as the training length has, so that no score at a greater length counts a
place that was trained. Left out: natural text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from sightline.layers.positions import AlibiBias, BiasesPositions, RelativeBiasT5, RotaryAxial, RotatesPositions
from sightline.layers.transformer import TransformerBlock
from sightline.ops.arguments import choose
from sightline.ops.positions import bicubic_matrix, sinusoidal

VOCABULARY, BACK = 16, 3
QUESTIONS = ("back", "first")
NONE = -100
WIDTH, DEPTH, HEADS, MLP_RATIO = 64, 2, 4, 2.0
THETA = 10000.0  # of rotary positions on text


@dataclass(frozen=True)
class Sequences:
    """Tokens, and the two answers at each place; -100 where there is none yet."""

    token: Int[Tensor, "b n"]
    label: Int[Tensor, "b n 2"]


def draw(batch: int, length: int, generator: Generator) -> Sequences:
    """Sequences of this length.

    Raises:
        ValueError: a length at which nothing can be asked.
    """
    if length <= BACK:
        raise ValueError(f"a sequence needs more than {BACK} tokens, got {length}")
    token = torch.randint(VOCABULARY, (batch, length), generator=generator)
    back = token.roll(BACK, 1)
    back[:, :BACK] = NONE
    first = token[:, :1].expand(-1, length)
    return Sequences(token, torch.stack([back, first], 2))


class Causal(nn.Module):
    """A position scheme, or none, for places that look at nothing after themselves."""

    def __init__(self, scheme: nn.Module | None, heads: int) -> None:
        super().__init__()
        self.scheme, self.heads = scheme, heads

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """The scheme's own bias, and minus infinity for every key after the query."""
        (n,) = size
        later = torch.full((n, n), float("-inf")).triu(1)
        if isinstance(self.scheme, BiasesPositions):
            return self.scheme.bias(size) + later
        return later.expand(self.heads, n, n)

    def rotate(
        self, query: Float[Tensor, "b heads n d"], key: Float[Tensor, "b heads n d"], size: Sequence[int]
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]:
        """The scheme's own turn, where it turns."""
        return self.scheme.rotate(query, key, size) if isinstance(self.scheme, RotatesPositions) else (query, key)


ATTENTION: dict[str, Callable[[], nn.Module | None]] = {
    "none": lambda: None,
    "sinusoidal": lambda: None,
    "learned": lambda: None,
    "T5 relative": lambda: RelativeBiasT5(HEADS),
    "ALiBi": lambda: AlibiBias(HEADS),
    "rotary": lambda: RotaryAxial(WIDTH // HEADS, axes=1, theta=THETA),
}
SCHEMES = tuple(ATTENTION)


class SequenceNetwork(nn.Module):
    """Embedding, encoding, causal blocks, and a linear head with two answers.

    Raises:
        ValueError: an unknown scheme.
    """

    def __init__(self, scheme: str, length: int) -> None:
        super().__init__()
        self.scheme, self.length = choose("scheme", scheme, SCHEMES), length
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.table = nn.Parameter(torch.empty(length, WIDTH)) if scheme == "learned" else None
        causal = Causal(ATTENTION[scheme](), HEADS)
        self.blocks = nn.ModuleList(
            TransformerBlock(WIDTH, HEADS, mlp_ratio=MLP_RATIO, position=causal) for _ in range(DEPTH)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, len(QUESTIONS) * VOCABULARY)
        for module in self.modules():  # as in the Vision Transformer
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if self.table is not None:
            nn.init.trunc_normal_(self.table, std=0.02)

    def positions(self, length: int) -> Float[Tensor, "n c"] | None:
        """What is added to the tokens of a sequence of this length."""
        if self.scheme == "sinusoidal":
            return sinusoidal(length, WIDTH)
        if self.table is None or length == self.length:
            return self.table
        return bicubic_matrix(self.length, length, antialias=True, dtype=self.table.dtype) @ self.table

    def forward(self, token: Int[Tensor, "b n"]) -> Float[Tensor, "b n two vocabulary"]:
        """Logits of both answers at every place."""
        x = self.embedding(token)
        added = self.positions(token.shape[1])
        x = x if added is None else x + added
        for block in self.blocks:
            x = block(x, size=(token.shape[1],))
        return self.head(self.norm(x)).unflatten(-1, (len(QUESTIONS), VOCABULARY))
