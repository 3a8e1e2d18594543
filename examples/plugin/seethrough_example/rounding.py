"""Rounding of the finished update to a grid of fixed step."""

import dataclasses

from pydantic import Field
from torch import Generator

from seethrough import Defense, entry


@entry
class Rounding(Defense):
    """Round every coordinate of the update to the nearest multiple of `step`, which promises nothing."""

    step: float = Field(default=0.001, gt=0)

    def release(self, update, rng: Generator):
        """The update on the grid."""
        rounded = {name: (part / self.step).round() * self.step for name, part in update.step.items()}
        return dataclasses.replace(update, step=rounded)

    def noise(self, observed, recipe, count):
        """What rounding adds is taken for noise of a twelfth of a step's square."""
        return {name: part.new_full((), self.step**2 / 12) for name, part in observed.items()}
