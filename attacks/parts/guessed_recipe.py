"""How clients train, where that is withheld: of several guesses, the one by which the attacker explains most of the update.

Under each guess the attack is played for fewer steps, and the images that it finds are asked how much of the update their step
leaves over. The cosine is used, since a wrong rate changes a step's length first of all. Recipes that differ in how examples
are dealt to batches are hard to tell apart, as the order of the examples is the attacker's guess too.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Generator

from seethrough.recipes import Recipe

from .._base import NoGradientError, Reconstruction, View
from .adaptive import whitening
from .distances import cosine
from .rounds import observed
from .simulated_client import simulated_client

Search = Callable[[View, Generator], Reconstruction]


def with_likeliest_recipe(view: View, guesses: tuple[Recipe, ...], play: Search, rng: Generator) -> View:
    """The view of who takes the best guess for the recipe; as it was where the recipe is known, or nothing is guessed."""
    if view.recipe is not None or not guesses:
        return view
    guessed = [dataclasses.replace(view, recipe=guess) for guess in guesses]
    state = rng.get_state()
    left = []
    for each in guessed:
        rng.set_state(state)  # so that no guess has a better start than another
        left.append(_unexplained(each, play, rng))
    return guessed[left.index(min(left))]


def _unexplained(view: View, play: Search, rng: Generator) -> float:
    try:
        found = play(view, rng)
    except NoGradientError:
        return float("inf")
    if found.inputs is None or found.labels is None:
        return float("inf")
    whitened = whitening(view)
    with torch.no_grad():
        return float(cosine(whitened(observed(view)))(whitened(simulated_client(view)(found.inputs, found.labels))))
