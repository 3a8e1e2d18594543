"""When a client's update can be computed from sums over changing sets of clients (So, Ali, Guler, Jiao, Avestimehr, "Securing
Secure Aggregation: Mitigating Multi-Round Privacy Leakage in Federated Learning", AAAI 2023, arXiv:2106.03328).

The server holds Y = P X, with P the participation [rounds, clients] and X the updates, as if these stayed the same. It can
compute client i's from the first t rounds exactly where the unit vector e_i lies in the space of P's first t rows, which is
where e_i's squared projection on that space, the leverage of i, is 1. An orthonormal basis that grows round by round gives
the leverages after every round at once: they are running sums of its squares.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lstsq

from .schedule import Schedule

NEW = 1e-7  # of its length that a round must stand out of those before it, to tell something new
WHOLE = 1e-7  # below 1 from which on a leverage is 1; of 0/1 rounds no other comes near it
BLOCK = 500  # clients whose combinations are computed at once


@dataclass(frozen=True, eq=False)
class Separation:
    """What the sums of the rounds seen tell of single clients, if every client sent the same in each of its rounds.

    A leverage of h means: of all that could tell one client's update from the others', the sums tell the share h; a
    client in one sum of n has 1/n, and at 1 its update is known.
    """

    leverage: np.ndarray  # float64 [rounds, clients], after each round
    first: np.ndarray  # int64 [clients], the position of the round with which its update can be computed; -1 for none
    noise: (
        np.ndarray
    )  # float64 [clients], variance of what is computed from all rounds, in that of a sum's noise; else NaN
    residual: float  # largest entry by which a computed combination of rounds differs from the single client


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
        if rank < basis.shape[1] and length > NEW * np.sqrt(len(members)):
            basis[:, rank] = left / length
            coordinates[rank, number] = length
            known += basis[:, rank] ** 2
            rank += 1
        leverage[number] = known
    return _separation(schedule, leverage, basis[:, :rank], coordinates[:rank])


def _separation(schedule: Schedule, leverage: np.ndarray, basis: np.ndarray, coordinates: np.ndarray) -> Separation:
    whole = leverage >= 1 - WHOLE
    single = np.flatnonzero(whole.any(axis=0))
    first = np.where(whole.any(axis=0), whole.argmax(axis=0), -1)
    noise, residual = np.full(len(first), np.nan), 0.0
    for start in range(0, len(single), BLOCK):
        block = single[start : start + BLOCK]
        weights = lstsq(coordinates, basis[block].T)[0]  # of all that give the client, the ones with the least noise
        noise[block] = (weights**2).sum(axis=0)
        reached = schedule.taken.T @ weights
        reached[block, np.arange(len(block))] -= 1
        residual = max(residual, float(np.abs(reached).max()))
    return Separation(leverage.clip(max=1.0), first, noise, residual)
