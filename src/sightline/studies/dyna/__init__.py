"""Learning from experience, from a model, and from both: what each pays in real steps, in thinking, in robustness."""
