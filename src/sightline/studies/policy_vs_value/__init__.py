"""When is a policy method the better choice, and what is its price? A random optimum, a dial for an action, noise."""
