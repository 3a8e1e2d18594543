"""A sum that only the whole cohort can open: its protocol, and the masks and secrets that it is made of."""
