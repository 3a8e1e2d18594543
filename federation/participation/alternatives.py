"""What other ways to choose clients would have shown, of the same size: for who must choose one."""

from dataclasses import dataclass

import numpy as np

from .groups import groups_of
from .schedule import Schedule
from .schemes import SCHEMES, Scheme
from .separable import separate

DRAWS = 10
MOST = 5e8  # rounds^2 x clients; above, ten draws of each scheme would take minutes


@dataclass(frozen=True)
class Tried:
    """What several draws of one scheme came to."""

    scheme: Scheme
    first: tuple[
        int, ...
    ]  # for each draw in which a client could be computed alone, after how many rounds the first could
    draws: int
    alone: float  # share of clients who could after all rounds, mean over the draws
    least: int  # the smallest group that a client surely hides in, over all draws


def alternatives(like: Schedule, group: int, dropout: float) -> tuple[Tried, ...]:
    """Each scheme over as many rounds and clients, with as many in a round on average before dropouts; none where that is too
    much to compute, or where a round is smaller than two groups."""
    rounds, clients = like.taken.shape
    per_round = min(clients, round(float(like.sizes.mean()) / (1 - dropout)))
    if rounds**2 * clients > MOST or per_round < 2 * group:
        return ()
    return tuple(_tried(Scheme(kind, clients, rounds, per_round, group, dropout)) for kind in SCHEMES)


def _tried(scheme: Scheme) -> Tried:
    first, alone, least = [], [], []
    for seed in range(DRAWS):
        drawn = scheme.drawn(seed)
        if not drawn.rounds:  # nobody arrived
            alone.append(0.0)
            continue
        found = separate(drawn)
        single = found.first[found.first >= 0]
        first += [int(single.min()) + 1] if len(single) else []
        alone.append(len(single) / scheme.clients)
        hidden = groups_of(drawn, found).least
        least.append(int(hidden[hidden > 0].min()))
    return Tried(scheme, tuple(first), DRAWS, float(np.mean(alone)), min(least, default=0))
