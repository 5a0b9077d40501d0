"""From an observation to an action and a value: bodies, heads, encoders by name, and parameters in one piece."""

from sightline.rl.policies.flat import Flat
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings

__all__ = ["Flat", "Policy", "PolicySettings", "make_policy"]
