"""Clients who do not all do the same: some quantize, some prune, some send everything."""

import dataclasses
import math
from dataclasses import dataclass
from functools import cache

from torch import Generator

from .._base import Defense, Guarantee, Update

MOST = 10_000  # clients of a population


@dataclass(frozen=True)
class Mixture(Defense):
    """Defenses of which each client has one of its own. The client under attack has the first one; the others are dealt to
    by their numbers, so that of any first n clients each defense has about its share.

    It is asked what a client does (`of`), and does nothing by itself. Raises: ValueError, for shares that do not make a
    whole, or for parts that act on several clients together.
    """

    shares: tuple[float, ...]
    parts: tuple[Defense, ...]

    def __post_init__(self) -> None:
        if not math.isclose(sum(self.shares), 1.0, abs_tol=1e-6):
            raise ValueError(f"shares of 1 in all, found {sum(self.shares):g}")
        for part in self.parts:
            if part.cohort() > 1 or part.mixes_clients():
                raise ValueError(
                    f"defenses that act on one client each, found {type(part).__name__}, which combines several; put it after "
                    "the mixture, in a chain"
                )

    def kinds(self) -> tuple[tuple[float, Defense], ...]:
        return tuple(zip(self.shares, self.parts, strict=True))

    def of(self, client: int) -> Defense:
        return self.parts[dealt(self.shares)[client]]

    def release(self, update: Update, rng: Generator) -> Update:
        """Raises: TypeError, always: whose update it is decides what is done to it."""
        raise TypeError("clients differ, so ask `of` what this one does")


@cache
def dealt(shares: tuple[float, ...]) -> tuple[int, ...]:
    """Which of the parts each client has, by its number: the first one client 0, then whatever lacks most of its share."""
    counts, found = [0] * len(shares), list[int]()
    for number in range(MOST):
        lacks = [share * (number + 1) - count for share, count in zip(shares, counts, strict=True)]
        chosen = lacks.index(max(lacks)) if number else 0
        counts[chosen] += 1
        found.append(chosen)
    return tuple(found)


def of_its_kind(guarantee: Guarantee | None, defense: Defense, clients: int) -> Guarantee | None:
    """What the client under attack claims, saying how many of all `clients` it holds for where others do not do the same."""
    if guarantee is None or len(defense.kinds()) == 1:
        return guarantee
    alike = sum(defense.of(client) == defense.of(0) for client in range(clients))
    only = (
        f"It holds for those who do what the one under attack does, {alike} of the {clients} clients, and says nothing of the "
        "others."
    )
    return dataclasses.replace(guarantee, statement=f"{guarantee.statement} {only}")
