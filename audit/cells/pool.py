"""What a run asks of its workers, wherever they are: processes of this machine, or a cluster's."""

from dataclasses import dataclass
from typing import Protocol

from seethrough.reports.row import Place

from .job import Answer


class RunError(Exception):
    """The run cannot go on: a cell cannot be kept, or workers do not start. Finished cells are kept."""


@dataclass(frozen=True)
class Held:
    """The place that a worker was given, and when."""

    place: Place
    since: float


@dataclass(frozen=True)
class Report:
    """What was heard of a worker."""

    worker: int
    held: Held | None  # what it was computing
    answer: Answer | None  # None: it ended and owes one
    ending: str = ""  # how one that ended did
    limited: bool = False  # whether a limit ended it
    blamed: bool = True  # whether that is its cell's doing: earlier ones may have left the memory that it held
    lost: bool = False  # whether it ended with all that was around it: a machine, a job, a connection


class Pool(Protocol):
    """Workers by their numbers; a number, once given to a worker, is never given to another."""

    def busy(self) -> bool:
        """Whether any worker holds a place."""

    def held(self) -> list[Held]:
        """What the workers are computing."""

    def fill(self, waiting: int) -> None:
        """See to it that there are workers for what they hold and `waiting` places more, as far as there can be."""

    def reports(self, patience: float) -> list[Report]:
        """What there is to say of the workers as soon as there is something, after `patience` seconds at the latest. A worker
        that is ready, or has answered, waits for a place; one that ended has left the pool. Raises: RunError."""

    def hand(self, number: int, place: Place, fresh: bool) -> bool:
        """Whether the worker could be handed the place, which one that computed no other before computes if `fresh`. If not,
        it waits for no place anymore."""

    def dismiss(self, patience: float) -> None:
        """End all workers: the idle ones may take `patience` seconds to end by themselves, the others are ended."""
