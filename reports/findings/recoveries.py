"""How many images were recovered, beside what guessing gets and what the guarantee allows.

Only batches are independent, so the interval of a rate is Hoeffding's over batches (1963, theorem 1): it holds for
means of any values in [0, 1], and its end on the other side is that of Clopper and Pearson where all images came back, or
none. The intervals hold for all rates of a report together, at 95 %: a report in which every guarantee holds calls one of
them refuted at most once in forty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from ..row import Cell, Claim, Manifest, Recovery
from .grid import unique
from .intervals import LEVEL
from .text import counted, listed

Verdict = Literal["refuted", "not refuted", "no power", "vacuous", "no bound"]


@dataclass(frozen=True)
class Recovered:
    """One attack through one defense, over all trials that have pictures."""

    setting: str
    threat: str
    defense: str
    attack: str
    threshold: float  # PSNR in dB
    recovered: int
    images: int
    batches: int
    rate: float
    low: float
    high: float
    guesses: int
    blind: float
    targets: int
    kappa: float
    bound: float | None
    methods: tuple[str, ...]  # how the bound was computed
    claims: tuple[Claim, ...]  # what it rests on
    unclaimed: tuple[str, ...]  # why there is none
    doubt: float  # probability at which the lower limit may be passed

    @property
    def verdict(self) -> Verdict:
        """`refuted` if even the lower limit of the rate exceeds the bound; `vacuous` if the bound allows everything.

        `no power` if an attack that recovered every image of these batches would not have refuted it either.
        """
        if self.bound is None:
            return "no bound"
        if self.low > self.bound:
            return "refuted"
        if self.bound > 0.99:
            return "vacuous"
        return "no power" if self.batches < self.needs else "not refuted"

    @property
    def needs(self) -> int:
        """The fewest batches of which a perfect attack could refute a bound: the lower limit for all of n is doubt^(1/n)."""
        if not self.bound:
            return 1
        return 1 + math.floor(math.log(self.doubt) / math.log(self.bound)) if self.bound < 1 else 0

    @property
    def said(self) -> str:
        """The verdict with what it would take, where it has no power."""
        if self.verdict != "no power":
            return self.verdict
        return f"no power: could not be refuted below {counted(self.needs, 'batch', 'batches')}"


def recoveries(manifest: Manifest, cells: Sequence[Cell]) -> tuple[Recovered, ...]:
    """One row for each setting, threat, defense and attack that has images, in the order of the spec."""
    by_key = {cell.key: cell for cell in cells}
    groups: dict[tuple[str, str, str, str], list[Cell]] = {}
    for place in manifest.places:
        cell = by_key.get(place.key)
        if cell is not None and cell.status == "ok" and cell.recovery is not None:
            groups.setdefault((place.setting, place.threat, place.defense, place.attack), []).append(cell)
    doubt = (1 - LEVEL) / 2 / max(1, len(groups))
    return tuple(_recovered(path, group, doubt) for path, group in groups.items())


def refutation(rows: Sequence[Recovered]) -> str:
    """One sentence that names what was refuted; empty where nothing was."""
    wrong = [row for row in rows if row.verdict == "refuted"]
    if not wrong:
        return ""
    named = [
        f"{row.attack} through {row.defense} ({row.setting}) recovered {row.recovered} of {counted(row.images, 'image')}, "
        f"a rate of at least {row.low:.3f}, where the guarantee allows {row.bound:.3f}"
        for row in wrong
    ]
    return (
        f"{counted(len(wrong), 'guarantee')} refuted by what was measured: {listed(named)}; either the accounting or the "
        "audit is wrong, so no bound of this run is to be trusted until it is known which"
    )


@cache
def interval_of_mean(mean: float, batches: int, doubt: float) -> tuple[float, float]:
    """Limits of the expectation of values in [0, 1], of which `batches` independent ones average `mean`.

    Each is passed with probability at most `doubt`.
    """
    reach = math.log(1 / doubt) / batches
    return _where(mean, 0.0, reach), _where(mean, 1.0, reach)


def _where(mean: float, end: float, reach: float) -> float:
    """The last number from `mean` on toward `end` whose divergence from it is no more than `reach`, by halving; the end, if
    all of them are as near. Rounding widens the interval."""
    near, far = mean, end
    while (middle := (near + far) / 2) not in (near, far):
        if _divergence(mean, middle) <= reach:
            near = middle
        else:
            far = middle
    return far


def _divergence(found: float, expected: float) -> float:
    """Kullback and Leibler's divergence of two coins."""
    heads = found * math.log(found / expected) if found else 0.0
    return heads + ((1 - found) * math.log((1 - found) / (1 - expected)) if found < 1 else 0.0)


def _recovered(path: tuple[str, str, str, str], cells: Sequence[Cell], doubt: float) -> Recovered:
    """A later cell's bound may differ where the attack returned another number of guesses: the loosest one counts."""
    found: list[Recovery] = [cell.recovery for cell in cells if cell.recovery is not None]
    rate = math.fsum(each.recovered / each.images for each in found) / len(found)
    low, high = interval_of_mean(rate, len(found), doubt)
    loosest = max(found, key=lambda each: each.kappa)
    bounds = [each.bound for each in found]
    return Recovered(
        *path,
        threshold=loosest.threshold,
        recovered=sum(each.recovered for each in found),
        images=sum(each.images for each in found),
        batches=len(found),
        rate=rate,
        low=low,
        high=high,
        guesses=loosest.guesses,
        blind=loosest.blind / loosest.targets,
        targets=loosest.targets,
        kappa=loosest.kappa,
        bound=None if None in bounds else max(bound for bound in bounds if bound is not None),
        methods=unique(each.method for each in found if each.method),
        claims=unique(cell.claim for cell in cells if cell.claim is not None),
        unclaimed=unique(cell.unclaimed for cell in cells if cell.unclaimed),
        doubt=doubt,
    )
