"""How long cells take, and from when on one takes suspiciously long."""

import math
from bisect import insort
from collections import defaultdict

from seethrough.reports.row import Place

KNOWN = 3
"""Cells of the same attack and setting that must have ended well before any is called slow."""
FACTOR = 5.0
"""A cell is slow that takes so many times their median,"""
LEAST = 10.0
"""and more than so many seconds: below, nobody waits for it."""


class Pace:
    """The seconds of the cells that ended well, by attack and setting."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], list[float]] = defaultdict(list)  # each sorted

    def add(self, place: Place, seconds: float) -> None:
        """Take into account a cell that ended well."""
        insort(self._seconds[place.attack, place.setting], seconds)

    def usual(self, place: Place) -> float:
        """The median, in seconds, of the cells like the one at `place`; infinite while too few are known."""
        known = self._seconds[place.attack, place.setting]
        return known[len(known) // 2] if len(known) >= KNOWN else math.inf

    def slow_after(self, place: Place) -> float:
        """Seconds after which the cell at `place` is slow; infinite while too few are known."""
        return max(FACTOR * self.usual(place), LEAST)
