"""Ways to choose who takes part, simulated: as the protocols in use draw clients, and as one would to keep groups together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from seethrough.common.errors import InputError

from .schedule import LARGEST, Schedule, schedule_of

Draw: TypeAlias = Callable[["Scheme", np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Scheme:
    """How many clients, over how many rounds, and how those of a round are chosen; each of the chosen may then drop out."""

    kind: str  # of SCHEMES
    clients: int
    rounds: int
    per_round: int  # chosen for a round, on average
    group: int = 1  # clients that are chosen together, where the kind has groups
    dropout: float = 0.0  # probability in [0, 1) that a chosen client does not arrive

    def check(self) -> None:
        """Raises: InputError, for numbers that do not go together."""
        for name, found, least, most in (
            ("per-round", self.per_round, self.group, self.clients),
            ("rounds", self.rounds, 1, LARGEST // self.clients),
        ):
            if not least <= found <= most:
                raise InputError(
                    f"--{name}: found {found}; allowed: from {least} to {most} (with {self.clients} clients)."
                )

    def drawn(self, seed: int) -> Schedule:
        """One schedule. Rounds in which nobody arrives are left out."""
        rng = np.random.default_rng(seed)
        arrived = []
        for number in range(self.rounds):
            chosen = SCHEMES[self.kind](self, rng)
            there = rng.random(len(chosen)) >= self.dropout
            if self.kind == WHOLE:
                there = there.reshape(-1, self.group).all(axis=1).repeat(self.group)
            arrived += [(number, int(client)) for client in chosen[there]]
        held = sorted({number for number, _ in arrived})
        place = {number: position for position, number in enumerate(held)}
        names = [str(number + 1) for number in held]
        return schedule_of(names, [str(each + 1) for each in range(self.clients)], [(place[n], c) for n, c in arrived])


def _by_rate(scheme: Scheme, rng: np.random.Generator) -> np.ndarray:
    return np.flatnonzero(rng.random(scheme.clients) < scheme.per_round / scheme.clients)


def _by_number(scheme: Scheme, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(scheme.clients, scheme.per_round, replace=False)


def _in_groups(scheme: Scheme, rng: np.random.Generator) -> np.ndarray:
    """Whole groups of neighbors, as many as make `per_round` clients; those who do not fill a group never take part."""
    drawn = rng.choice(scheme.clients // scheme.group, max(1, scheme.per_round // scheme.group), replace=False)
    return (drawn[:, None] * scheme.group + np.arange(scheme.group)).ravel()


WHOLE = "whole groups"
SCHEMES: dict[str, Draw] = {
    "rate": _by_rate,
    "number": _by_number,
    "groups": _in_groups,
    WHOLE: _in_groups,
}
"""`rate`: everybody by a coin of their own (Poisson). `number`: so many, uniformly. `groups`: fixed groups that take part
together (So et al., AAAI 2023, batch partitioning). `whole groups`: the same, but where one drops out, its group does."""
