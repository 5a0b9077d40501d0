"""Thinking ahead in anything that steps: tree search, games, tables, exact judges; loops compiled where Numba is."""
