"""One check's answer."""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "ratio", "count"]


@dataclass(frozen=True)
class Wire:
    """One check: what was measured, and from where on it is more than honest models have."""

    name: str
    kind: Kind
    measured: (
        float | None
    )  # larger is more suspicious; a share in [0, 1], a ratio or a count; None where it was not measured
    threshold: float
    sentence: str
    applies: bool = True  # whether there is anything to measure in this model

    @property
    def tripped(self) -> bool:
        """Whether more was measured than honest models have."""
        return self.measured is not None and self.measured > self.threshold

    @property
    def unchecked(self) -> bool:
        """Whether there is something to measure that could not be."""
        return self.applies and self.measured is None

    def written(self, value: float | None) -> str:
        """A value as a table shows it."""
        if value is None:
            return "-"
        if math.isinf(value):
            return "infinite"
        if self.kind == "count":
            return f"{value:.0f}"
        return f"{value:.1%}" if self.kind == "share" else f"{value:.3g}"
