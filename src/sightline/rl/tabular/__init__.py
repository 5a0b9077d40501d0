"""Learners whose knowledge is a table: Q-learning and its kin, Dyna, prioritized sweeping, and the life they lead."""
