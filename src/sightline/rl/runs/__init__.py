"""What `sightline act` does: an agent trains in a run folder, is evaluated, and can be loaded again."""
