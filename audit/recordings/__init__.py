"""Updates that somebody else's client sent: written down, read again, and doubted before anything attacks them."""
