"""What a client can check on the model that it received, before it trains on it."""
