"""In how many others a client hides: a number that it surely has, and one that a server was seen to get below.

The smallest group is that of the fewest clients, the client among them, whose sum can be computed with equal weights (So et
al., AAAI 2023, their multi-round guarantee T). To find it is as hard as to find a code's lightest word, so two bounds are
given. Below: where the sum of k clients can be computed, their vector of ones lies in the space of the rounds, and a vector
with length sqrt(k) and a one at the client gives that client a leverage of at least 1/k; so no group is smaller than one over
the leverage. Above: the groups that rounds show by themselves, those of clients who are in the very same rounds and stand
out as one, and the difference of two rounds of which one holds the other.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from .schedule import Schedule
from .separable import Separation, together

ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Groups:
    """Of each client; zero for one that is in no round."""

    round: np.ndarray  # int64 [clients], clients in the smallest round's sum that it is in
    least: np.ndarray  # int64 [clients], no smaller group with it can be computed
    found: np.ndarray  # int64 [clients], the smallest group with it that was found


def groups_of(schedule: Schedule, found: Separation) -> Groups:
    """The bounds for each client, from what can be computed of the schedule."""
    columns = schedule.taken.T.tocsr()
    sizes, leverage = schedule.sizes, found.leverage[-1]
    inside = [columns.indices[start:end] for start, end in pairwise(columns.indptr)]
    smallest = np.array([sizes[rounds].min() if len(rounds) else 0 for rounds in inside])
    there = smallest > 0
    least = np.zeros(len(there), dtype=np.int64)
    least[there] = np.ceil(1 / leverage[there] - ROUNDING)
    group = np.minimum(smallest, _differences(schedule))
    for alike in together(schedule):
        if found.exposed[alike[0]]:
            group[alike] = len(alike)
        elif len(alike) == 1:
            least[alike] = np.maximum(least[alike], 2)
    return Groups(smallest, least, np.where(there, group, 0))


def _differences(schedule: Schedule) -> np.ndarray:
    """The fewest clients of a round who are left when another one, which it holds as a whole, is taken off."""
    sizes, taken = schedule.sizes, schedule.taken
    both = (taken @ taken.T).tocoo()
    inner, outer = both.coords
    nested = (both.data == sizes[inner]) & (sizes[inner] < sizes[outer])
    inner, outer = inner[nested], outer[nested]
    left = np.full(taken.shape[1], np.iinfo(np.int64).max)
    waiting = sizes.astype(float)  # clients of each round whose smallest difference is not known yet
    for place in np.argsort(sizes[outer] - sizes[inner], kind="stable"):
        small, large = inner[place], outer[place]
        if waiting[large] == waiting[small]:  # all who are left have a smaller one
            continue
        rest = np.setdiff1d(_members(taken, large), _members(taken, small), assume_unique=True)
        left[rest] = np.minimum(left[rest], len(rest))
        waiting = taken @ (left == np.iinfo(np.int64).max)
    return left


def _members(taken: csr_array, number: int) -> np.ndarray:
    return taken.indices[taken.indptr[number] : taken.indptr[number + 1]]
