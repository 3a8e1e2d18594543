"""An axis of a plot."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..findings.intervals import Estimate
from ..findings.text import number


@dataclass(frozen=True)
class Tick:
    """A line of the grid with its number."""

    at: float
    text: str


@dataclass(frozen=True)
class Frame:
    """The view box of a plot, and where in it the axes lie."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end` in units of the view box."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where the value lies; beyond the ends, on them."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def span(self, estimate: Estimate) -> tuple[float, float] | None:
        """Where the interval lies, if there is one."""
        if estimate.low is None or estimate.high is None:
            return None
        return self.at(estimate.low), self.at(estimate.high)

    def ticks(self) -> tuple[Tick, ...]:
        """Some round numbers."""
        from matplotlib.ticker import MaxNLocator  # slow to import, and wanted only here

        values = [float(value) for value in MaxNLocator(6).tick_values(self.low, self.high)]
        shown = [round(value, 12) + 0.0 for value in values if self.low <= value <= self.high]
        return tuple(Tick(self.at(value), number(value, *shown)) for value in shown)


def axis_over(estimates: Sequence[Estimate], start: float, end: float, others: Sequence[float] = ()) -> Axis:
    """An axis over all means and `others`, and over intervals up to as far again on each side."""
    means = [*(each.mean for each in estimates), *others]
    width = (max(means) - min(means)) or max(abs(means[0]), 1.0) / 2
    lows = [max(each.low, min(means) - width / 2) for each in estimates if each.low is not None]
    highs = [min(each.high, max(means) + width / 2) for each in estimates if each.high is not None]
    margin = 0.08 * width
    return Axis(min(means + lows) - margin, max(means + highs) + margin, start, end)
