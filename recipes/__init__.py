"""How a client trains, and the same as an attacker replays it."""

from .recipe import Order, Recipe

__all__ = ["Order", "Recipe"]
