"""Cells in worker processes of our own: a worker that dies loses the cell it held, and no other.

A place goes out through a pipe and its cell comes back as a file, so the parent holds nothing that a kill could
lose. Not a process pool: a pool whose worker dies gives up all that is under way.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import cast

from seethrough.common.processes import StartMethod
from seethrough.reports.row import Cell, Place

from .store import Store
from .worker import Job
from .worker_pool import GRACE, Context, WorkerPool

START_ATTEMPTS = 3
"""Workers that may die one after another while they hold no place; after that, the fault is no passing one."""


class RunError(Exception):
    """The run cannot go on: a cell cannot be kept, or workers do not start. Finished cells are kept."""


@dataclass(frozen=True)
class Started:
    """A place was handed to a worker."""

    place: Place
    worker: int


@dataclass(frozen=True)
class Finished:
    """A cell's file is written."""

    place: Place
    status: str
    seconds: float


Event = Started | Finished


def run_cells(
    places: Sequence[Place],
    compute: Callable[[Place], Cell],
    store: Store,
    workers: int,
    threads: int,
    watch: Callable[[Event], None],
    seed: int = 0,
    code: str = "",
    start_method: StartMethod = "spawn",
) -> None:
    """Compute the cell at every place, each key once, and keep it in `store`, whose lock the caller holds.

    `compute` must be picklable; it runs in each of `workers` processes with `threads` threads. NotApplicableError
    makes its cell n/a; any other exception, or the death of its process, makes it failed, and the run goes on.
    `seed` and `code` go into the cells that are made here for want of a computed one.

    Raises: RunError; ValueError, for fewer than one worker or thread; KeyboardInterrupt, once no worker is left.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"workers and threads must be at least 1, found {workers} and {threads}")
    job = Job(compute, store, threads, seed, code)
    pool = WorkerPool(job, workers, cast(Context, get_context(start_method)))
    distinct = {place.key: place for place in places}
    try:
        _serve(pool, deque(distinct.values()), watch)
    except BaseException:
        pool.dismiss(patience=0)
        raise
    pool.dismiss(patience=GRACE)


def _serve(pool: WorkerPool, waiting: deque[Place], watch: Callable[[Event], None]) -> None:
    futile = 0
    while waiting or pool.busy():
        pool.fill(len(waiting))
        for report in pool.reports():
            futile = futile + 1 if report.ending and report.held is None else 0
            if futile == START_ATTEMPTS:
                raise RunError(f"{futile} workers in a row died before they took a cell; the last one {report.ending}")
            if report.held is not None:
                if report.answer.problem:
                    raise RunError(report.answer.problem)
                watch(Finished(report.held.place, report.answer.status, report.answer.seconds))
            if not report.ending and waiting and pool.hand(report.worker, waiting[0]):
                watch(Started(waiting.popleft(), report.worker))
