"""When a client's update can be computed from sums over changing sets of clients (So, Ali, Guler, Jiao, Avestimehr, "Securing
Secure Aggregation: Mitigating Multi-Round Privacy Leakage in Federated Learning", AAAI 2023, arXiv:2106.03328).

The server holds Y = P X, with P the participation [rounds, clients] and X the updates, as if these stayed the same. It can
compute client i's from the first t rounds exactly where the unit vector e_i lies in the space of P's first t rows, which is
where e_i's squared projection on that space, the leverage of i, is 1. An orthonormal basis that grows round by round gives
the leverages after every round at once: they are running sums of its squares.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import lstsq

from .schedule import Schedule

NEW = 1e-9  # of its length that a round must stand out of those before it, to tell something new
NEAR = 1e-6  # below 1 from which on a leverage is looked at more closely
WHOLE = 1e-9  # by which a unit vector and its projection may differ, in length, where the vector lies in the space
CLEAR = 1e-5  # share of its length by which every new round should stand out, for that to be told for certain
BLOCK = 500  # clients whose combinations are computed at once


@dataclass(frozen=True, eq=False)
class Separation:
    """What the sums of the rounds seen tell of single clients, if every client sent the same in each of its rounds.

    A leverage of h means: of all that could tell one client's update from the others', the sums tell the share h; a
    client in one sum of n has 1/n, and at 1 its update is known.
    """

    leverage: np.ndarray  # float64 [rounds, clients], after each round
    first: np.ndarray  # int64 [clients], the position of the round with which its update can be computed; -1 for none
    noise: np.ndarray  # float64 [clients], variance of what all rounds give, in that of a sum's noise; NaN for others
    exposed: np.ndarray  # bool [clients], whether the sum of those in the very same rounds can be computed
    certain: bool  # whether rounds were told from combinations of others by far more than rounding


def separate(schedule: Schedule) -> Separation:
    """What can be computed, client by client. Dense in memory: rounds x clients x 16 bytes.

    A round that is a combination of earlier ones tells nothing new. Clients who are always in the same rounds are never
    told apart, and stand under a leverage of at most one over their number.
    """
    taken = schedule.taken
    rounds, clients = taken.shape
    basis = np.zeros((clients, min(rounds, clients)), order="F")
    coordinates = np.zeros((min(rounds, clients), rounds))
    leverage, known, rank = np.zeros((rounds, clients)), np.zeros(clients), 0
    first, certain = np.full(clients, -1), True
    for number in range(rounds):
        members = taken.indices[taken.indptr[number] : taken.indptr[number + 1]]
        left = np.zeros(clients)
        left[members] = 1.0
        found = basis[members, :rank].sum(axis=0)
        left -= basis[:, :rank] @ found
        again = left @ basis[:, :rank]  # once more, for what rounding left behind
        left -= basis[:, :rank] @ again
        coordinates[:rank, number] = found + again
        length = float(np.linalg.norm(left))
        new = length / np.sqrt(len(members))
        certain &= new >= CLEAR or new <= NEW * CLEAR
        if rank < basis.shape[1] and new > NEW:
            basis[:, rank] = left / length
            coordinates[rank, number] = length
            known += basis[:, rank] ** 2
            rank += 1
        leverage[number] = known
        near = np.flatnonzero((first < 0) & (known > 1 - NEAR))
        first[near[_inside(basis[:, :rank], near[:, None])]] = number
    noise = _noise(basis[:, :rank], coordinates[:rank], np.flatnonzero(first >= 0))
    return Separation(leverage.clip(max=1.0), first, noise, _exposed(schedule, basis[:, :rank], known), certain)


def _inside(basis: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which of the vectors of ones at `groups` [n, members] lie in the space of `basis` [clients, rank], bool [n].

    A leverage near 1 does not tell: it differs from 1 by the square of what the vector and its projection differ by.
    """
    found = np.zeros(len(groups), dtype=bool)
    for start in range(0, len(groups), BLOCK):
        block = groups[start : start + BLOCK]
        projected = basis @ basis[block].sum(axis=1).T
        projected[block.T, np.arange(len(block))] -= 1
        found[start : start + BLOCK] = np.linalg.norm(projected, axis=0) < WHOLE * np.sqrt(block.shape[1])
    return found


def _exposed(schedule: Schedule, basis: np.ndarray, leverage: np.ndarray) -> np.ndarray:
    exposed = np.zeros(len(leverage), dtype=bool)
    for group in together(schedule):
        if leverage[group[0]] * len(group) > 1 - NEAR and _inside(basis, np.array([group]))[0]:
            exposed[group] = True
    return exposed


def together(schedule: Schedule) -> list[list[int]]:
    """Clients in groups of those who are in the very same rounds; without those who are in none."""
    columns = schedule.taken.T.tocsr()
    groups: dict[bytes, list[int]] = {}
    for client, (start, end) in enumerate(pairwise(columns.indptr)):
        if end > start:
            groups.setdefault(np.sort(columns.indices[start:end]).tobytes(), []).append(client)
    return list(groups.values())


def _noise(basis: np.ndarray, coordinates: np.ndarray, single: np.ndarray) -> np.ndarray:
    """Of those who can be computed, the squared length of the combination of rounds that does it with the least noise."""
    noise = np.full(len(basis), np.nan)
    for start in range(0, len(single), BLOCK):
        block = single[start : start + BLOCK]
        noise[block] = (lstsq(coordinates, basis[block].T)[0] ** 2).sum(axis=0)
    return noise
