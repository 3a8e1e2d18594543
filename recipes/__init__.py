"""How a client trains, and the same as an attacker replays it."""

from .recipe import AnyRecipe, Order, Recipe

__all__ = ["AnyRecipe", "Order", "Recipe"]
