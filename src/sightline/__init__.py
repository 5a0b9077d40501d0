"""Sightline shows what a vision network can see, what it uses, and fixes it when that is too little.

The map of the house, bottom to top; each room imports only from floors below:

- `ops`      pure functions: patterns (who may look at whom), criss-cross and non-local attention, position encodings
- `run`      seed, device, run folder, metrics, checkpoint, exact resume
- `layers`   modules with weights: CrissCross, NonLocal, MultiHeadAttention, positions, blocks
- `models`   encoders (image in, map out) and heads
- `envs`     own environments, any environment by name, exact states
- `seeing`   what a network sees: what it can, what it does, where it looks, and one page
- `rl`       agents (REINFORCE, A2C, PPO) and what they are made of: policies, distributions, returns, losses, rollouts
- `play`     watch an agent, with its gaze
- `vision`   data, training and metrics for segmentation and classification
- `studies`  the lab's questions as experiments, each with its page
- `bench`    time and memory of the operators on this machine
- `cli`      the command `sightline`
"""

__version__ = "0.1.0"
