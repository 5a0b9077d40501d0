"""The questions of the lab as experiments: train, compare, picture, verdict."""
