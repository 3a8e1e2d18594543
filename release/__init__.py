"""What a release must pass before it is published: `make release`."""
