"""What a network sees: for now, which outputs an input can reach at all."""
