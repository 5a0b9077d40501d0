"""Networks that turn an image into a map, and the contract that every one of them keeps (`encoder.py`)."""
