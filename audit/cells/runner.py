"""Cells in worker processes of our own: a worker that dies loses the cell it held, and no other.

A place goes out through a pipe and its cell comes back as a file, so the parent holds nothing that a kill could
lose. Not a process pool: a pool whose worker dies gives up all that is under way.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal, cast

from seethrough.reports.row import Cell, Place

from .store import DamagedFileError, Store
from .worker import Answer, Job, keep
from .worker_pool import GRACE, Context, Held, WorkerPool

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
    start_method: Literal["spawn", "forkserver", "fork"] = "spawn",
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
        _serve(job, pool, deque(distinct.values()), watch)
    except BaseException:
        pool.dismiss(patience=0)
        raise
    pool.dismiss(patience=GRACE)


def _serve(job: Job, pool: WorkerPool, waiting: deque[Place], watch: Callable[[Event], None]) -> None:
    futile = 0
    while waiting or pool.busy():
        pool.fill(len(waiting))
        for report in pool.reports():
            futile = futile + 1 if report.answer is None and report.held is None else 0
            if futile == START_ATTEMPTS:
                raise RunError(f"{futile} workers in a row died before they took a cell; the last one {report.ending}")
            if report.held is not None:
                answer = report.answer or _after_death(job, report.held, report.ending)
                if answer.problem:
                    raise RunError(answer.problem)
                watch(Finished(report.held.place, answer.status, answer.seconds))
            if report.answer is not None and waiting and pool.hand(report.worker, waiting[0]):
                watch(Started(waiting.popleft(), report.worker))


def _after_death(job: Job, held: Held, ending: str) -> Answer:
    """The answer that a dead worker owes: it may have written its cell before it died, else its cell is failed."""
    try:
        cell = job.store.read(held.place.key)
    except DamagedFileError:
        cell = None
    if cell is not None and cell.status != "failed":
        return Answer(cell.status, cell.seconds)
    seconds = time.perf_counter() - held.since
    return keep(job, job.failed(held.place, f"the process that computed it {ending}", seconds))
