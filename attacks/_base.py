"""What an attacker may see, and what it must return."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from seethrough.defenses import Batch, Defense, NotApplicableError, Params
from seethrough.recipes import Order, Recipe


class NotGrantedError(NotApplicableError):
    """The threat model withholds a fact that the attack cannot do without."""


class NoGradientError(Exception):
    """A search had nothing to go by, in any restart at any step, so that its end is no evidence; the message says why."""


@dataclass(frozen=True)
class Space:
    """Where inputs and labels live."""

    shape: tuple[int, int, int]  # channels, height, width of one input
    classes: int


@dataclass(frozen=True, eq=False)
class Seen:
    """What the server saw of an earlier round."""

    model: nn.Module  # as it was broadcast then
    update: Params
    order: Order | None = None  # as in the view
    fresh: bool = False  # whether it was of other examples than the round at hand
    labels: Tensor | None = None  # as in the view; of the same examples they are the view's
    buffers: Params | None = None  # as in the view


@dataclass(frozen=True, eq=False)
class Sum:
    """What the server saw of a round in which it could read a sum alone."""

    update: Params  # the mean step of those in the sum
    members: tuple[int, ...]  # their numbers, the same in every round; that of the client under attack is 0
    labels: Tensor | None = None  # of the client under attack alone, if labels are granted
    fresh: bool = False  # whether clients trained on other examples than in other rounds


@dataclass(frozen=True, eq=False)
class IndexLists:
    """Which coordinates the clients in a sum sent, where they told that in the clear: those that are not zero, which may be
    fewer than the protocol would have let them send."""

    sent: tuple[Params, ...]  # bool, of each client; that of the client under attack comes first
    labels: Tensor | None = None  # of the client under attack alone, if labels are granted


@dataclass(frozen=True, eq=False)
class View:
    """All that the attacker has. What the threat model withholds is None, not hidden behind a flag."""

    model: nn.Module  # its own copy, at the broadcast weights, in the clients' train or eval mode
    update: Params  # the step (local weights - broadcast weights) that it could read, or the cohort's mean step
    space: Space

    count: int | None = None  # examples behind `update`
    labels: Tensor | None = None  # int64 [count], sorted, or in the order of the examples where that is known
    buffers: Params | None = None  # BatchNorm statistics, "<layer>.running_mean" and "<layer>.running_var"
    recipe: Recipe | None = None  # how the clients train
    order: Order | None = None  # which of its examples the client took at each step
    defense: Defense | None = None  # what the clients do to their updates
    public: Batch | None = None  # data of the same kind that is nobody's secret
    participants: int | None = None  # clients behind `update`
    past: tuple[Seen, ...] | None = None  # earlier rounds of the same clients, the oldest first
    sums: tuple[Sum, ...] | None = None  # of all rounds, that of `update` last, where each was of other clients
    lists: IndexLists | None = None  # beside a sum, where clients send them
    aborted: int | None = None  # earlier rounds that gave the server nothing, and left the model as it was

    @property
    def fresh(self) -> bool:
        """Whether each round was of examples of its own."""
        return any(seen.fresh for seen in self.past or ())

    def need(self, *facts: str) -> None:
        """Raises: NotGrantedError, naming the first of `facts` that was withheld."""
        for fact in facts:
            if getattr(self, fact) is None:
                raise NotGrantedError(f"needs `{fact}`, which the threat model does not grant")


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What the attacker claims was in the batch.

    `shrunk` is its best guess in squared error, as a mean image is, and `inputs` the likeliest images, whose error may be
    larger: they are drawn toward the mean public image by the attacker's own estimate of how far off they are.
    """

    inputs: Tensor | None  # float32 [n, *space.shape] in [0, 1]; None where the attack recovers labels only
    labels: Tensor | None  # int64 [n]; None where it recovers no labels
    loss: float  # the attacker's own objective at what it returns; lower is better
    shrunk: Tensor | None = None  # as `inputs`, and in the same order; None unless it was asked for, by public images
    history: tuple["Reconstruction", ...] = ()  # of earlier rounds with examples of their own, if that was asked for
    whole: "Reconstruction | None" = (
        None  # of all in the last sum, where this is of one client alone, if that was asked for
    )
    isolated: bool = False  # whether it is of one client out of sums
    note: str = ""  # what a reader must know of what it was made of


@dataclass(frozen=True, eq=False)
class Prepared:
    """What an attack trained on public data before it saw any update, for people to look at."""

    names: tuple[str, ...]  # of the losses
    losses: Tensor  # [epochs, len(names)]
    samples: Tensor  # float32 [n, *space.shape] in [0, 1]: what it draws unasked


class Attack:
    """What an attacker makes of a View. Hyperparameters are its fields; there is one method to write."""

    needs: ClassVar[tuple[str, ...]] = ()  # facts of the View without which the cell is n/a
    recovers_images: ClassVar[bool] = True  # False for attacks on labels alone

    def facts(self, space: Space) -> str:
        """What beside the fields decides its claims, such as the content of a file. Raises: ValueError, a sentence."""
        return ""

    def prepare(self, public: Batch, space: Space, tell: Callable[[str], None]) -> Prepared | None:
        """What it trains on public data, into the cache, so that no cell waits for it; `tell` hears how far it is.

        Raises: ValueError, a sentence, if what it was given cannot be used."""
        return None

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """The attacker's best guess, chosen by its own objective, never by likeness to the truth."""
        raise NotImplementedError

    def shrunk(self, found: Reconstruction, view: View, rng: Generator) -> Reconstruction:
        """`found`, of the same view, with `shrunk` where the attack can make it. Takes about as long as `reconstruct`."""
        return found
