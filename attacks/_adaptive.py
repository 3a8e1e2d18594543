"""What an attacker who knows the defense makes of it.

Knowing a defense is having `View.defense`: everything here leaves a view without it as it was, so an attacker who ignores
the defense is the same attack on `unaware(view)`.
"""

import dataclasses

import torch

from attacks._base import View
from defenses import Params


def unaware(view: View) -> View:
    """The view of an attacker who does not reckon with the defense."""
    return dataclasses.replace(view, defense=None)


def clients_behind(view: View) -> int:
    """How many clients the attacker takes the update for a mean of: one, unless it knows defense and number."""
    return 1 if view.defense is None else view.participants or 1


def as_seen(view: View, step: Params) -> Params:
    """What would be seen of one client's undefended `step`."""
    return step if view.defense is None else view.defense.expected(step, view.update)


def hides_length(view: View) -> bool:
    """Whether the defense surely changed the length of the observed update: one twice as long would look the same."""
    if view.defense is None or clients_behind(view) > 1:
        return False
    longer = view.defense.expected({name: 2 * part for name, part in view.update.items()}, view.update)
    return all(torch.allclose(longer[name], part, rtol=1e-3, atol=0.0) for name, part in view.update.items())


def noise_variances(view: View) -> Params:
    """The known variance of the noise on each coordinate of `view.update`, by parameter; zero where none is known."""
    known = {} if view.defense is None else view.defense.noise(view.update)
    zero = next(iter(view.update.values())).new_zeros(())
    return {name: known.get(name, zero) / clients_behind(view) for name in view.update}
