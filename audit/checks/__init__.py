"""What is said before anything is computed: misconfigured privacy, unfit models, batches too few to show anything."""
