"""What a defense promises: mechanisms, their accounting, the statement in words, and the rate of recovery that it allows."""
