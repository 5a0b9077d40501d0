"""Supervised learning from images: data that needs no download."""
