"""What a participation audit found, in plain values."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Client:
    """One client, after all rounds."""

    name: str
    rounds: int  # that it is in
    smallest: int  # clients in the smallest of these
    least: int  # clients that it surely hides among, itself included
    found: int  # the smallest group with it whose sum was found to be computable
    after: int | None  # rounds after which its update can be computed; None if it cannot
    round: str  # the name of the last of these
    noise: float | None  # variance of what is computed then from all rounds, in that of one sum's noise
    told: float  # share of its update that the sums tell if it is the same in every round
    drifting: float  # the same under drift
    one_round: float  # what its smallest round tells under drift by itself
    epsilon: float | None  # of all its rounds; None without noise


@dataclass(frozen=True)
class Alternative:
    """Another way to choose the clients."""

    name: str
    after: tuple[int, ...]  # rounds until the first client could be computed, of the draws in which one could
    draws: int
    alone: float  # mean share of clients who could
    least: int


@dataclass(frozen=True, eq=False)
class Participation:
    """One schedule and what its sums give away."""

    source: str
    rounds: int  # whose sums are opened
    unopened: int  # rounds below the threshold
    threshold: int
    group: int | None  # clients that everybody was promised to hide among
    rho: float
    sigma: float
    clients: tuple[Client, ...]  # those who take part, in the schedule's order
    absent: int  # clients in no round
    first: str  # the first round's name
    last: str
    told: np.ndarray  # float [rounds, clients], as `Client.told`, after each round
    certain: bool  # whether what can be computed was told apart from rounding
    privacy: str  # what epsilon says; empty without noise
    alternatives: tuple[Alternative, ...]
    dropout: float  # of the alternatives

    @property
    def ordered(self) -> tuple[Client, ...]:
        """Those whose update can be computed first, the earliest first; then those who hide in the smallest groups."""
        return tuple(
            sorted(self.clients, key=lambda each: (each.after is None, each.after or 0, each.found, -each.told))
        )

    @property
    def alone(self) -> tuple[Client, ...]:
        """Clients whose update can be computed, the earliest first."""
        return tuple(each for each in self.ordered if each.after is not None)
