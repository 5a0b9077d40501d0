"""Thinking ahead in a model of the world: tables that are known (`tabular.py`), loops compiled where Numba is."""
