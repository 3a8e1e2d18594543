"""What is said before anything is computed: misconfigured privacy, and batches too few to show anything."""
