"""Who took part in which round: a sparse matrix, and the rows that it is recorded in."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

LARGEST = 400_000_000  # rounds x clients: the dense part of what is computed then takes 10 GB


@dataclass(frozen=True, eq=False)
class Schedule:
    """`taken` [rounds, clients] holds 1 where the client's update is in the sum of the round, in the order of the rounds."""

    rounds: tuple[str, ...]
    clients: tuple[str, ...]
    taken: csr_array

    @property
    def sizes(self) -> np.ndarray:
        """How many clients are in each round's sum, int64 [rounds]."""
        return np.asarray(self.taken.sum(axis=1), dtype=np.int64)

    @property
    def appearances(self) -> np.ndarray:
        """In how many rounds each client is, int64 [clients]."""
        return np.asarray(self.taken.sum(axis=0), dtype=np.int64)

    def opened(self, threshold: int) -> "Schedule":
        """The rounds in which at least `threshold` clients arrived: secure aggregation opens no smaller sum."""
        kept = np.flatnonzero(self.sizes >= threshold)
        return Schedule(tuple(self.rounds[number] for number in kept), self.clients, csr_array(self.taken[kept]))


def schedule_of(rounds: Sequence[str], clients: Sequence[str], pairs: Sequence[tuple[int, int]]) -> Schedule:
    """The schedule of `pairs`, each the position of a round and of a client."""
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    taken = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(rounds), len(clients)))
    return Schedule(tuple(rounds), tuple(clients), taken)


def recorded(rows: Sequence[tuple[str, str]]) -> Schedule:
    """The schedule of rows of a round and a client, as they were written down: rounds in the order of their numbers, or, where
    one has no number, in that of the rows.

    Raises: ValueError, naming the row, the heading being the first, that cannot be.
    """
    clients: dict[str, int] = {}
    seen: dict[tuple[str, int], int] = {}
    for row, (round_, client) in enumerate(rows, start=2):
        if not round_.strip() or not client.strip():
            raise ValueError(
                f"row {row}: found no {'client' if round_.strip() else 'round'}; allowed: a name in both columns"
            )
        key = (round_.strip(), clients.setdefault(client.strip(), len(clients)))
        if key in seen:
            raise ValueError(
                f"row {row}: found client {client.strip()!r} in round {key[0]!r} again, after row {seen[key]}; allowed: "
                f"once, as its update is in the sum once"
            )
        seen[key] = row
    if not seen:
        raise ValueError("found no row; allowed: one for every client in every round's sum")
    rounds = _in_order(dict.fromkeys(name for name, _ in seen))
    places = {name: place for place, name in enumerate(rounds)}
    return schedule_of(rounds, tuple(clients), [(places[name], client) for name, client in seen])


def _in_order(names: Iterable[str]) -> list[str]:
    listed = list(names)
    if not all(re.fullmatch("[0-9]{1,18}", name) for name in listed):
        return listed
    spelled: dict[int, str] = {}
    for name in listed:
        if (other := spelled.setdefault(int(name), name)) != name:
            raise ValueError(f"found the rounds {other!r} and {name!r}; allowed: one spelling of each number")
    return [spelled[number] for number in sorted(spelled)]
