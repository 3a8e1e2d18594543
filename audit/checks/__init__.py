"""What is said before anything is computed: misconfigured privacy, unfit models, batches that could show nothing."""
