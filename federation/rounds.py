"""Federated rounds: what was broadcast, who trained on what, what the server has afterward."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Generator, nn

from seethrough.defenses import AbortedError, Aggregate, Batch, Defense, MeanGradient, Update
from seethrough.recipes import Order, Recipe

from .client import local_update
from .server import Server


@dataclass(frozen=True, eq=False)
class Turn:
    """Who trains on what in one round."""

    clients: tuple[int, ...]  # numbers of those who send; the client under attack is 0, and comes first where it does
    batches: tuple[Batch, ...]  # one for each of them
    rngs: tuple[Generator, ...]  # a stream for each of them, and a last one for combining what they send
    number: int = 0  # of the round


@dataclass(frozen=True, eq=False)
class Round:
    """One round: what was broadcast, what the clients hold, and what the server has afterward."""

    model: nn.Module  # the broadcast model, in the clients' mode
    batches: tuple[Batch, ...]  # the truth, one batch a client; the client under attack comes first, if it takes part
    aggregate: Aggregate
    orders: tuple[Order | None, ...]  # in which the clients took their examples; None where that is not known
    clients: tuple[int, ...]  # their numbers; that of the client under attack is 0
    number: int = 0  # of the round

    def read(self) -> Update:
        """What the server reads of the first client: its own update if it can, else the mean of those in the sum."""
        return self.aggregate.seen[0] if self.aggregate.seen else self.aggregate.mean

    def places(self) -> tuple[int, ...]:
        """The clients behind what the server can read: the first one, or all who are in the sum."""
        return (0,) if self.aggregate.seen else tuple(range(len(self.batches)))

    def members(self) -> tuple[int, ...]:
        """Their numbers."""
        return tuple(self.clients[place] for place in self.places())

    def order(self) -> Order | None:
        """In which the client took its examples whose own update the server reads; None for a mean."""
        return self.orders[0] if self.aggregate.seen else None

    def victims(self) -> tuple[Batch, ...]:
        """Their batches."""
        return tuple(self.batches[place] for place in self.places())


def simulate_round(
    model: nn.Module,
    batches: tuple[Batch, ...],
    recipe: Recipe,
    defense: Defense,
    rngs: tuple[Generator, ...],
    number: int = 0,
    clients: tuple[int, ...] = (),
) -> Round:
    """One round under `defense`; `rngs` holds a stream for each client and a last one for combining their updates. Without
    `clients` they are numbered in their order.

    Raises: AbortedError, if too few clients are left for a sum.
    """
    numbers = clients or tuple(range(len(batches)))
    own = tuple(defense.of(client) for client in numbers)
    gradients = {each: each.train(MeanGradient(recipe.loss)) for each in own}
    orders = tuple(recipe.order(len(batch), rng) for batch, rng in zip(batches, rngs[:-1], strict=True))
    updates = tuple(
        local_update(model, batch, recipe, gradients[each], rng, order)
        for batch, each, rng, order in zip(batches, own, rngs[:-1], orders, strict=True)
    )
    aggregate = defense.aggregate(released(defense, numbers, updates, rngs[:-1]), rngs[-1])
    return Round(model, batches, aggregate, orders, numbers, number)


def released(
    defense: Defense, clients: tuple[int, ...], updates: tuple[Update, ...], rngs: tuple[Generator, ...]
) -> tuple[Update, ...]:
    """The updates of these clients as they are sent, where they differ each by what it does."""
    if len(defense.kinds()) == 1:
        return defense.cohort_step(updates, rngs)
    sent = zip(clients, updates, rngs, strict=True)
    return tuple(defense.of(client).release(update, rng) for client, update, rng in sent)


def aborted(simulated: tuple[Round, ...]) -> int:
    """How many rounds up to the last one gave the server nothing."""
    return simulated[-1].number + 1 - len(simulated)


def simulate_rounds(server: Server, turns: Iterable[Turn], recipe: Recipe, defense: Defense) -> tuple[Round, ...]:
    """The rounds of all `turns`, one after another; between them the server moves its model along the clients' mean step.

    A round that nobody sends anything in, or that is aborted, is left out, and the server's model stays as it is. Raises:
    AbortedError, if that is the last one; DivergedError, if a client's step or the model is not finite.
    """
    simulated: list[Round] = []
    *earlier, last = turns
    for turn in earlier:
        try:
            played = _played(server, turn, recipe, defense) if turn.clients else None
        except AbortedError:
            played = None
        if played is not None:
            server.move(played.aggregate.mean)
            simulated.append(played)
    return (*simulated, _played(server, last, recipe, defense))


def _played(server: Server, turn: Turn, recipe: Recipe, defense: Defense) -> Round:
    return simulate_round(server.broadcast(), turn.batches, recipe, defense, turn.rngs, turn.number, turn.clients)
