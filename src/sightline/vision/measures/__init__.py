"""What a training makes small, and what it is judged by: losses, weights of the classes, and scores."""
