"""Acting: what agents are made of. Action distributions, returns, losses and rollouts; the agents are still to come."""
