"""From settings to a trained network: recipes, batches, the update, the loop, and the command (`run_training.py`)."""
