"""What a model is, and whether images can be searched for through it."""
