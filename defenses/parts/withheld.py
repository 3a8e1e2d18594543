"""Coordinates that whoever looks at an update was not shown."""

from dataclasses import dataclass

from .._base import Defense, Params


@dataclass(frozen=True)
class Withheld(Defense):
    """Coordinates that the attacker was not shown; it knows which, by their zeros."""

    def expected(self, step: Params, observed: Params) -> Params:
        """The step where something was seen."""
        return {name: part * (observed[name] != 0) for name, part in step.items()}
