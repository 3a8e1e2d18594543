"""Who takes part in a training, how clients and server train, and what sums over changing clients give away."""
