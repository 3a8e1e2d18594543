"""Generators of images: trained on public data and kept, or the user's own, and the search of their latents."""
