"""Action distributions in closed form, and which one fits a space.

Frozen bundles of parameters with `sample(noise)`, `mode()`, `log_prob(action)`, `entropy()` and `kl(other)`, over any
leading axes. Noise comes from outside: the same numbers give the same actions whatever else is in the batch.
`torch.distributions` is their oracle in the tests, and not used: it costs more than the arithmetic.
"""

from sightline.rl.distributions.discrete import Bernoulli, Categorical, MultiDiscrete, categorical, multi_discrete
from sightline.rl.distributions.face import Distribution
from sightline.rl.distributions.fit import ActionFit, fit_distribution
from sightline.rl.distributions.gaussian import Gaussian, SquashedGaussian
from sightline.rl.distributions.greedy import EpsilonGreedy

__all__ = [
    "ActionFit",
    "Bernoulli",
    "Categorical",
    "Distribution",
    "EpsilonGreedy",
    "Gaussian",
    "MultiDiscrete",
    "SquashedGaussian",
    "categorical",
    "fit_distribution",
    "multi_discrete",
]
