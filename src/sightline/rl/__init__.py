"""Acting: agents that learn from what they see (REINFORCE, A2C, PPO), and what they are made of."""
