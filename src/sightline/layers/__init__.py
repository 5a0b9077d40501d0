"""Modules with weights: attention, positions, residual and transformer blocks. What looks can be asked where it looks."""
