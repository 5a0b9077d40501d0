"""Pure functions of tensors: who may look at whom, and every attention and position encoding built on it."""
