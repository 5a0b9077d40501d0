"""The common face of every action distribution."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor


@runtime_checkable
class Distribution(Protocol):
    """Rows of actions over leading axes `*b`; what an action's own axes are is each distribution's matter.

    Noise is drawn outside, so that a random stream belongs to an environment, however many there are in a batch.
    """

    def sample(self, noise: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Noise of the distribution's kind in, an action out."""

    def mode(self) -> Shaped[Tensor, "..."]:
        """The action to take when nothing is to be explored."""

    def log_prob(self, action: Any) -> Float[Tensor, "*b"]:
        """Log-probability or log-density of an action."""

    def entropy(self) -> Float[Tensor, "*b"]:
        """Entropy in nats."""

    def kl(self, other: Any) -> Float[Tensor, "*b"]:
        """KL(self, other) from another distribution of the same kind."""
