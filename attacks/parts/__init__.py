"""What attacks are put together from: the simulated client, distances, the search, and what is known of images."""
