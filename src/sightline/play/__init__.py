"""Watching an agent: episodes, what it thinks at every step, where it looks, as a video and a page."""
