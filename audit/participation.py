"""A schedule of participation, audited: what its sums let a server compute, client by client."""

import math

import numpy as np

from seethrough.common.errors import InputError
from seethrough.federation.participation import Drift, Schedule, groups_of, recorded, separate, told
from seethrough.federation.participation.alternatives import DRAWS, Tried, alternatives
from seethrough.federation.participation.schedule import LARGEST
from seethrough.reports.participation import Alternative, Client, Participation

from .untrusted import read_columns
from .untrusted.files import FilePath


def schedule_in(path: FilePath) -> Schedule:
    """The schedule of a CSV file with the columns round and client. Raises: InputError, naming the row."""
    try:
        return recorded([(row[0], row[1]) for row in read_columns(path, ("round", "client"))])
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from error


def participation(
    schedule: Schedule,
    source: str,
    threshold: int = 1,
    group: int | None = None,
    drift: Drift = Drift(0.5),  # noqa: B008  (frozen)
    dropout: float = 0.05,
    noise_multiplier: float | None = None,
    delta: float = 1e-5,
) -> Participation:
    """What the sums of rounds of at least `threshold` clients give away.

    Raises: InputError, for a schedule of no opened round, or too large a one.
    """
    opened = schedule.opened(threshold)
    if not schedule.rounds:
        raise InputError(f"{source}: nobody arrived in any round; allowed: rounds with clients in them.")
    if not opened.rounds:
        raise InputError(
            f"{source}: found no round of at least {threshold} clients (threshold); allowed: a threshold of at most "
            f"{schedule.sizes.max()}, the most in one round."
        )
    rounds, clients = opened.taken.shape
    if rounds * clients > LARGEST:
        raise InputError(
            f"{source}: found {rounds:,} rounds x {clients:,} clients; allowed: at most {LARGEST:,} of both."
        )
    found, share = separate(opened), told(opened, drift)
    groups = groups_of(opened, found)
    spent = _epsilons(opened.appearances, noise_multiplier, delta)
    there = np.flatnonzero(opened.appearances)
    people = tuple(
        Client(
            name=opened.clients[each],
            rounds=int(opened.appearances[each]),
            smallest=int(groups.round[each]),
            least=int(groups.least[each]),
            found=int(groups.found[each]),
            after=int(found.first[each]) + 1 if found.first[each] >= 0 else None,
            round=opened.rounds[found.first[each]] if found.first[each] >= 0 else "",
            noise=float(found.noise[each]) if found.first[each] >= 0 else None,
            told=1.0 if found.first[each] >= 0 else float(found.leverage[-1][each]),
            drifting=float(share[-1][each]),
            one_round=1 / (float(groups.round[each]) * (1 + drift.rho**2) + drift.sigma**2),
            epsilon=spent.get(int(opened.appearances[each])),
        )
        for each in there.tolist()
    )
    return Participation(
        source=source,
        rounds=rounds,
        unopened=len(schedule.rounds) - rounds,
        threshold=threshold,
        group=group,
        rho=drift.rho,
        sigma=drift.sigma,
        clients=people,
        absent=clients - len(there),
        first=opened.rounds[0],
        last=opened.rounds[-1],
        told=found.leverage[:, there],
        certain=found.certain,
        privacy=_privacy(spent, noise_multiplier, delta),
        alternatives=tuple(map(_alternative, alternatives(opened, group or min(5, _half(opened)), dropout))),
        dropout=dropout,
    )


def _epsilons(appearances: np.ndarray, noise_multiplier: float | None, delta: float) -> dict[int, float]:
    """Epsilon by the number of rounds that a client is in, without amplification: the server knows who took part."""
    if noise_multiplier is None:
        return {}
    from seethrough.defenses._mechanism import GaussianMechanism  # slow to import, and wanted only here
    from seethrough.defenses.guarantees.accounting import gaussian_epsilon

    counts = np.unique(appearances[appearances > 0]).tolist()
    return {count: gaussian_epsilon(GaussianMechanism(noise_multiplier, count), delta, "rdp") for count in counts}


def _privacy(spent: dict[int, float], noise_multiplier: float | None, delta: float) -> str:
    if not spent:
        return ""
    most = max(spent.values())
    return (
        f"With noise of {noise_multiplier:g} times the largest update in every sum, a client is "
        f"({math.ceil(most * 1000) / 1000:.3f}, {delta:g})-differentially private over all its rounds, at most {max(spent)} "
        f"(neighbors add or remove one client's updates; Opacus, RDP). Nothing is amplified by sampling: the server knows who "
        f"took part."
    )


def _half(schedule: Schedule) -> int:
    return max(2, round(float(schedule.sizes.mean())) // 2)


def _alternative(tried: Tried) -> Alternative:
    scheme = tried.scheme
    name = {
        "rate": "each client by a coin of its own",
        "number": "so many, uniformly",
        "groups": f"fixed groups of {scheme.group}",
        "whole groups": f"fixed groups of {scheme.group}, whole or not at all",
    }[scheme.kind]
    return Alternative(name, tried.first, DRAWS, tried.alone, tried.least)
