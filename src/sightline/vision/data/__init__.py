"""Examples: what a data set promises, your own folders and lists, and the look at every file before a training."""
