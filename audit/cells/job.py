"""What a worker process is told and says. Light, as what starts and hears such processes need not import what they compute."""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from seethrough.common.errors import refusal
from seethrough.reports.findings.text import last_line
from seethrough.reports.row import Cell, Place

from .store import SchemaMismatchError, Store


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told once. `seed` and `code` go into the cells that the runner itself makes. Relative
    paths start in `folder`, where there is one, else in the folder of the process that starts the worker. A worker of other
    `versions` (libraries, machine, device) takes no place; where none are given, it is on the machine that planned."""

    compute: Callable[[Place], Cell]
    store: Store
    threads: int
    seed: int = 0
    code: str = ""
    folder: str = ""
    versions: tuple[tuple[str, str], ...] = ()

    def failed(self, place: Place, note: str, seconds: float = 0.0) -> Cell:
        """The cell of a computation that broke."""
        return Cell(place.key, "failed", note, seconds=seconds, seed=self.seed, code=self.code)


@dataclass(frozen=True)
class Answer:
    """What a worker says: that it is ready (all empty), that a cell's file is written, or that it cannot be."""

    status: str = ""
    seconds: float = 0.0
    problem: str = ""
    reason: str = ""  # of a failed cell, in a line


def work(job: Job, environment: dict[str, str], pipe: Connection) -> None:
    """What a worker process runs: `worker.serve`, which takes seconds to import where no server has done so."""
    from .worker import serve

    serve(job, environment, pipe)


def keep(job: Job, cell: Cell) -> Answer:
    """The answer that the cell's file is written, or why it cannot be."""
    try:
        job.store.write(cell)
    except (OSError, SchemaMismatchError) as error:
        reason = refusal(error) if isinstance(error, OSError) else error
        return Answer(problem=f"the cell {cell.key} cannot be kept: {reason}")
    return Answer(cell.status, cell.seconds, reason=last_line(cell.note) if cell.status == "failed" else "")
