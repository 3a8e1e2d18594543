"""One part of a grid, for machines that know nothing of each other: the same split on all of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from seethrough.common.errors import InputError
from seethrough.reports.row import Place


@dataclass(frozen=True)
class Shard:
    """The `number`-th, from 1 on, of `count` parts."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, places: Sequence[Place]) -> tuple[Place, ...]:
        """The places of this part, each key once. Cells of one attack in one setting take about as long as each other: they
        are dealt to all parts in turn, so that none gets the long ones, and none more than a cell more than another."""
        distinct = {place.key: place for place in reversed(places)}  # the first of those that share a key
        names = sorted(
            distinct.values(), key=lambda each: (each.attack, each.setting, each.defense, each.threat, each.trial)
        )
        return tuple(names[self.number - 1 :: self.count])


def shard_from(text: str) -> Shard:
    """The shard that a user names as in `3/20`. Raises: InputError."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = Shard(*map(int, found.groups())) if found else None
    if shard is None or not 1 <= shard.number <= shard.count:
        raise InputError(f"--shard: found {text!r:.60}; allowed: which part of how many, from 1/20 to 20/20.")
    return shard
