"""One entry of each kind for seethrough, in a package of its own."""
