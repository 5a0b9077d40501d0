"""Sightline shows what a vision network can see, what it uses, and fixes it when that is too little.

The map of the house, bottom to top; each room imports only from floors below:

- `ops`      pure functions: patterns (who may look at whom), criss-cross and non-local attention, position encodings
- `run`      seed, device, run folder, metrics, checkpoint, exact resume
- `layers`   modules with weights: CrissCross, NonLocal, MultiHeadAttention, positions, blocks
- `models`   encoders (image in, map out) and heads
- `envs`     own environments, batched pure functions and Gymnasium's
- `seeing`   what a network sees: what it can, what it does, where it looks, and one page
- `rl`       the parts of agents: distributions, returns, losses, rollouts
- `vision`   data, training and metrics for segmentation and classification
- `studies`  the lab's questions as experiments, each with its page
- `bench`    time and memory of the operators on this machine
- `cli`      the command `sightline`
"""

__version__ = "0.1.0"
