"""What a network sees: what it can (receptive), what it does (effective), where it looks (attention), and one page."""
