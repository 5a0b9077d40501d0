"""Acting: rollouts, returns, losses and the agents that learn by policy gradients."""
