"""The privacy guarantees that defenses claim, beside what was found."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal

from ..row import Cell, Claim, Manifest
from .grid import unique

NO_CLAIM = "claims no bound"
UNKNOWN = "not known before a cell of it is computed"


@dataclass(frozen=True)
class Promise:
    """What a defense claims in one setting."""

    setting: str
    defense: str
    claims: tuple[Claim, ...]  # distinct ones; empty where it claims no bound, or nothing is known yet
    known: bool  # whether a cell of it was computed
    reasons: tuple[str, ...] = ()  # why it claims no bound

    @property
    def words(self) -> str:
        """What stands in the place of claims where there are none."""
        if not self.known:
            return UNKNOWN
        return f"{NO_CLAIM}: {'; '.join(self.reasons)}" if self.reasons else NO_CLAIM


def promises(manifest: Manifest, cells: Sequence[Cell]) -> tuple[Promise, ...]:
    """One promise for every setting and defense, in the order of the spec."""
    by_key = {cell.key: cell for cell in cells}
    found = []
    for setting, defense in unique((place.setting, place.defense) for place in manifest.places):
        keys = [place.key for place in manifest.places if (place.setting, place.defense) == (setting, defense)]
        mine = [by_key[key] for key in keys if key in by_key]
        claims = _widest(cell.claim for cell in mine if cell.claim is not None)
        reasons = unique(cell.unclaimed for cell in mine if cell.unclaimed)
        known = bool(claims) or any(cell.status == "ok" for cell in mine)
        found.append(Promise(setting, defense, claims, known, reasons))
    return tuple(found)


def _widest(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Of claims that differ in epsilon alone, as of clients who were in more rounds or fewer, the one that holds for all."""
    found: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        kind = (claim.delta, claim.unit, claim.adjacency, claim.noise)
        found[kind] = max(found.get(kind, claim), claim, key=lambda each: each.epsilon)
    return tuple(found.values())


def bound(value: float) -> str:
    """An epsilon or delta to four digits, rounded up: a bound must not look tighter than it is."""
    if math.isinf(value):
        return "∞"
    return f"{float(Context(prec=4, rounding=ROUND_CEILING).create_decimal(Decimal(repr(value)))):g}"
