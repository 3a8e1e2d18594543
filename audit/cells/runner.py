"""Cells in workers: one that dies loses the cell it held, and no other.

A place goes out and its cell comes back as a file, so the parent holds nothing that a kill could lose. Not a process pool
of Python's: one whose worker dies gives up all that is under way.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import cast

from seethrough.common.processes import StartMethod
from seethrough.reports.row import Cell, Place

from .job import Job, keep
from .limits import NO_LIMITS, Limits
from .pace import Pace
from .pool import Held, Pool, Report, RunError
from .store import Store
from .worker_pool import WorkerPool
from .worker_process import GRACE, Context

START_ATTEMPTS = 3
"""Workers that may die one after another while they hold no place; after that, the fault is no passing one."""
MOST_LOST = 3
"""Workers that one cell may cost with all that is around them: machines fail, but it may be the cell that fells them."""

__all__ = ["Event", "Finished", "Noticed", "RunError", "Started", "run_cells", "run_in"]


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
    reason: str = ""  # of a failed one, in a line


@dataclass(frozen=True)
class Noticed:
    """A cell under way is slow, or lost its worker and is tried again."""

    place: Place
    words: str


Event = Started | Finished | Noticed


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
    limits: Limits = NO_LIMITS,
) -> None:
    """Compute the cell at every place, each key once, and keep it in `store`, whose lock the caller holds.

    `compute` must be picklable; it runs in each of `workers` processes here with `threads` threads. NotApplicableError
    makes its cell n/a; any other exception, or the end of its process by itself or by a limit, makes it failed, and
    the run goes on. `seed` and `code` go into the cells that are made here for want of a computed one.

    Raises: RunError; ValueError, for fewer than one worker or thread; KeyboardInterrupt, once no worker is left.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"workers and threads must be at least 1, found {workers} and {threads}")
    job = Job(compute, store, threads, seed, code)
    run_in(WorkerPool(job, workers, cast(Context, get_context(start_method)), limits), places, job, watch, limits)


def run_in(
    pool: Pool, places: Sequence[Place], job: Job, watch: Callable[[Event], None], limits: Limits = NO_LIMITS
) -> None:
    """As `run_cells`, by the workers of `pool`, which are ended after it."""
    distinct = {place.key: place for place in places}
    try:
        _Run(pool, job, limits, watch, deque(distinct.values())).serve()
    except BaseException:
        pool.dismiss(patience=0)
        raise
    pool.dismiss(patience=GRACE)


@dataclass
class _Run:
    """Which places wait, which are tried again, and what is known of the pace."""

    pool: Pool
    job: Job
    limits: Limits
    watch: Callable[[Event], None]
    waiting: deque[Place]
    idle: list[int] = field(default_factory=list)  # workers that wait for a place, the first one longest
    futile: int = 0  # workers in a row that ended before they took a cell
    ended: Counter[str] = field(default_factory=Counter)  # workers that a cell has cost, by its key
    lost: Counter[str] = field(default_factory=Counter)  # workers that were lost while they held it
    again: set[str] = field(default_factory=set)  # keys of cells that wait to be tried once more, by a fresh worker
    slow: set[str] = field(default_factory=set)  # keys of cells that were said to be
    pace: Pace = field(default_factory=Pace)

    def serve(self) -> None:
        while self.waiting or self.pool.busy():
            self.pool.fill(len(self.waiting))
            for report in self.pool.reports(self._until_slow()):
                self._check(report)
                if report.held is not None:
                    self._settle(report, report.held)
                if report.ending:
                    self.idle = [each for each in self.idle if each != report.worker]
                else:
                    self.idle.append(report.worker)
            self._hand_out()
            self._name_slow()

    def _check(self, report: Report) -> None:
        """Raises: RunError, where it cannot go on."""
        if report.answer is not None and report.answer.problem:
            raise RunError(report.answer.problem)
        self.futile = self.futile + 1 if report.ending and report.held is None else 0
        if self.futile == START_ATTEMPTS:
            words = f"{self.futile} workers in a row died before they took a cell; the last one {report.ending}"
            raise RunError(words)

    def _settle(self, report: Report, held: Held) -> None:
        """What becomes of a place whose worker answered, or ended."""
        place, answer = held.place, report.answer
        if answer is None:
            why = report.ending if report.limited or report.lost else f"the process that computed it {report.ending}"
            given_up = self._given_up(report, place.key)
            if given_up is None:
                self.again.add(place.key)
                self.waiting.append(place)
                self.watch(Noticed(place, f"{why}; it is tried again"))
                return
            answer = keep(self.job, self.job.failed(place, f"{why}{given_up}", time.perf_counter() - held.since))
            if answer.problem:
                raise RunError(answer.problem)
        if answer.status == "ok":
            self.pace.add(place, answer.seconds)
        self.watch(Finished(place, answer.status, answer.seconds, answer.reason))

    def _given_up(self, report: Report, key: str) -> str | None:
        """What is added to the reason where a cell that cost this worker is given up; None where it is tried again."""
        if report.lost:
            self.lost[key] += 1
            return f"; so ended {MOST_LOST} workers" if self.lost[key] == MOST_LOST else None
        self.ended[key] += report.blamed
        if not report.blamed or self.ended[key] < self.limits.tries:
            return None
        return f"; so ended {self.limits.tries} tries" if self.limits.tries > 1 else ""

    def _hand_out(self) -> None:
        """Hand the places that wait to the workers that do."""
        while self.waiting and self.idle:
            worker, place = self.idle.pop(0), self.waiting[0]
            if self.pool.hand(worker, place, fresh=place.key in self.again):
                self.again.discard(place.key)
                self.watch(Started(self.waiting.popleft(), worker))

    def _until_slow(self) -> float:
        """Seconds until the next cell under way is slow."""
        now = time.perf_counter()
        known = (held for held in self.pool.held() if held.place.key not in self.slow)
        return min((held.since + self.pace.slow_after(held.place) - now for held in known), default=math.inf)

    def _name_slow(self) -> None:
        for held in self.pool.held():
            seconds, place = time.perf_counter() - held.since, held.place
            if place.key not in self.slow and seconds > self.pace.slow_after(place):
                self.slow.add(place.key)
                usual = self.pace.usual(place)
                self.watch(Noticed(place, f"takes more than {seconds:.3g} s; cells like it took {usual:.3g} s"))
