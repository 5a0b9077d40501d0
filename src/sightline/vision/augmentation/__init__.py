"""What happens to an example before a network sees it: drawn for a training, and the same always for a test."""
