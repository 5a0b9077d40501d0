"""What a baseline and a critic do to the policy gradient: variance, and the bias that lambda trades for it."""
