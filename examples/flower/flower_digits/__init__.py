"""A Flower app: clients train a small CNN on digits, and a recorder keeps what they send."""
