"""What the scale of a Gaussian policy does, who should set it, and what to do at the borders of the box."""
