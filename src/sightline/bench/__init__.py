"""Time and peak memory of the operators on this machine, correctness first."""
