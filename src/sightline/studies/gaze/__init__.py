"""Where an agent that attends looks in BoxWorld, and whether that is why it does what it does."""
