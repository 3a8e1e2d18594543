"""In how many others a client hides: a number that it surely has, and one that a server was seen to get below.

The smallest group is that of the fewest clients, the client among them, whose sum can be computed with equal weights (So et
al., AAAI 2023, their multi-round guarantee T). To find it is as hard as to find a code's lightest word, so two bounds are
given. Below: where the sum of k clients can be computed, their vector of ones lies in the space of the rounds, and a vector
with length sqrt(k) and a one at the client gives that client a leverage of at least 1/k; so no group is smaller than one over
the leverage. Above: the groups that rounds show by themselves, those of clients who are in the very same rounds and stand
out as one, and the difference of two rounds of which one holds the other.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .schedule import Schedule
from .separable import WHOLE


@dataclass(frozen=True, eq=False)
class Groups:
    """Of each client; zero for one that is in no round."""

    round: np.ndarray  # int64 [clients], clients in the smallest round's sum that it is in
    least: np.ndarray  # int64 [clients], no smaller group with it can be computed
    found: np.ndarray  # int64 [clients], the smallest group with it that was found


def groups_of(schedule: Schedule, leverage: np.ndarray) -> Groups:
    """The bounds for each client, by its leverage after all rounds (float64 [clients], as `separate` gives it)."""
    sizes = schedule.sizes
    columns = schedule.taken.T.tocsr()
    inside = [columns.indices[start:end] for start, end in pairwise(columns.indptr)]
    smallest = np.array([sizes[rounds].min() if len(rounds) else 0 for rounds in inside])
    names = [tuple(rounds.tolist()) for rounds in inside]
    counts = Counter(names)
    together = np.array([counts[name] for name in names])
    there = smallest > 0
    least = np.zeros(len(there), dtype=np.int64)
    least[there] = np.ceil(1 / leverage[there] - WHOLE)
    found = np.minimum(smallest, _differences(schedule))
    alone = there & (leverage * together >= 1 - WHOLE)
    found[alone] = together[alone]
    return Groups(smallest, least, found)


def _differences(schedule: Schedule) -> np.ndarray:
    """The fewest clients of a round who are left when another one, which it holds as a whole, is taken off."""
    sizes, taken = schedule.sizes, schedule.taken
    both = (taken @ taken.T).tocoo()
    inner, outer = both.coords
    nested = (both.data == sizes[inner]) & (sizes[inner] < sizes[outer])
    left = np.full(taken.shape[1], np.iinfo(np.int64).max)
    for small, large in zip(inner[nested], outer[nested], strict=True):
        rest = np.flatnonzero((taken[[large]] - taken[[small]]).toarray().ravel() > 0)
        left[rest] = np.minimum(left[rest], len(rest))
    return left
