"""Who takes part in which round of a trial, and on which of its examples a client trains then."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from seethrough.defenses import Batch, Defense, NotApplicableError
from seethrough.federation.rounds import Turn

from .case import everyone, round_streams
from .randomness import stream
from .specification.clients import Population
from .specification.schema import Setting


@dataclass(frozen=True)
class Visit:
    """A client in a round, which has sent its update."""

    client: int  # its number; the one under attack is 0
    before: int  # rounds that it has sent its update in before


def without_clients(defense: Defense, setting: Setting) -> str:
    """Why clients cannot differ as the defense says, for want of clients; empty where they can."""
    clients = everyone(setting, defense.cohort())
    missing = len({defense.of(client) for client in range(clients)}) < len({own for _, own in defense.kinds()})
    which = "the one client that takes part has" if clients == 1 else f"the {clients} clients that take part have"
    return f"{which} not all of the defenses of the mixture; a population with more clients would" if missing else ""


@cache
def visits(setting: Setting, seed: int, trial: int, cohort: int) -> tuple[tuple[Visit, ...], ...]:
    """Who sends an update in each round, the client under attack first where it does, as in the last round.

    A client that drops out has sent nothing, and trains on the same batch when it comes back. Who does is drawn by a stream
    of its own, the same for every defense, and for a larger share all those of a smaller one drop out too.

    Raises: NotApplicableError, for a defense that combines another number of clients than take part in a round.
    """
    if setting.population is None:
        return tuple(tuple(Visit(client, number) for client in range(cohort)) for number in range(setting.rounds))
    clients, size = setting.population.clients, setting.population.per_round
    if cohort not in (1, size):
        raise NotApplicableError(f"the defense combines {cohort} clients, and population.per_round is {size}")
    rng, fates = stream(seed, "population", trial), stream(seed, "dropouts", trial)
    seen: list[int] = [0] * clients
    found: list[tuple[Visit, ...]] = []
    for number in range(setting.rounds):
        chosen = torch.randperm(clients, generator=rng)[:size]
        if number == setting.rounds - 1 and 0 not in chosen:
            chosen[0] = 0  # in the place of any, as they are in no order yet
        drawn = chosen.sort().values.tolist()
        luck = torch.rand(size, generator=fates)
        sent = _arrived(setting.population, drawn, luck, attacked=number == setting.rounds - 1)
        found.append(tuple(Visit(client, seen[client]) for client in sent))
        for client in sent:
            seen[client] += 1
    return tuple(found)


def _arrived(population: Population, drawn: list[int], luck: Tensor, attacked: bool) -> list[int]:
    """Those of the `drawn` clients who do not drop out, by the `luck` [per_round] in [0, 1) of each; the first one never does
    if it is `attacked`."""
    fate = luck.clone()
    if attacked:
        fate[0] = 1.0
    if population.dropouts >= 1:
        gone = fate.argsort(stable=True)[: int(population.dropouts)].tolist()
    else:
        gone = (fate < population.dropouts).nonzero().flatten().tolist()
    return [client for place, client in enumerate(drawn) if place not in gone]


def trained_on(setting: Setting, seed: int, trial: int, held: Batch, visit: Visit) -> Batch:
    """Of all that the client holds, what it trains on in that round: one batch after another, shuffled before each pass."""
    if not setting.fresh:
        return held
    turn, place = divmod(visit.before, setting.held // setting.batch_size)
    order = torch.randperm(setting.held, generator=stream(seed, "pass", trial, visit.client, turn))
    chosen = order[place * setting.batch_size : (place + 1) * setting.batch_size]
    return Batch(held.inputs[chosen], held.labels[chosen])


def turns(
    setting: Setting, seed: int, trial: int, defense: Defense, held: tuple[Batch, ...], control: str
) -> tuple[Turn, ...]:
    """The rounds of a trial, for what every client holds; `control` names streams of their own."""
    return tuple(
        Turn(
            clients=tuple(visit.client for visit in present),
            batches=tuple(trained_on(setting, seed, trial, held[visit.client], visit) for visit in present),
            rngs=round_streams(seed, trial, [visit.client for visit in present], control, number),
            number=number,
        )
        for number, present in enumerate(visits(setting, seed, trial, defense.cohort()))
    )
