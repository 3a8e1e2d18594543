"""What a model is, and whether it can be audited."""
