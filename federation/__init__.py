"""Who takes part in a training, when, and what their sums give away."""
