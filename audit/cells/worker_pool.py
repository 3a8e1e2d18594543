"""The worker processes of one run: replaced where they die, ended where they pass a limit.

No heartbeats: a thread that beats goes on while a cell hangs, and stops under native code that computes. That a process
lives is known by its sentinel; one that lives and does nothing, or is stopped, is found by the limit of time.
"""

import math
import time
from itertools import count
from multiprocessing.connection import wait
from typing import Any

from seethrough.reports.row import Place

from .job import Answer, Job
from .limits import Limits, said_duration
from .pool import Held, Report
from .store import DamagedFileError
from .worker_process import GRACE, Context, WorkerProcess

START_TIME = 300.0
"""Seconds that a worker may take until it is ready, where cells have a limit of time and theirs is not longer."""
LONGEST_DELAY = 5.0
"""Seconds that this process may oversleep, however busy the machine is; longer, it was stopped."""
TICK = 0.25
"""Seconds between two looks at the memory of workers."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds until workers are replaced once two died in a row, doubled with each one more, and at most."""


class WorkerPool:
    """A pool of up to `size` processes of this machine."""

    def __init__(self, job: Job, size: int, context: Context, limits: Limits) -> None:
        self._job, self._size, self._context, self._limits = job, size, context, limits
        self._workers: dict[int, WorkerProcess] = {}
        self._numbers = count()
        self._deaths = 0  # in a row, with no cell finished between them
        self._pause_ends = 0.0

    def busy(self) -> bool:
        """Whether any worker holds a place."""
        return bool(self.held())

    def held(self) -> list[Held]:
        """What the workers are computing."""
        return [worker.held for worker in self._workers.values() if worker.held is not None]

    def fill(self, waiting: int) -> None:
        """Start workers until the pool is complete, or enough for what they hold and `waiting` places more; none in the pause
        after several died."""
        wanted = min(self._size, waiting + len(self.held()))
        while len(self._workers) < wanted and time.perf_counter() >= self._pause_ends:
            self._workers[next(self._numbers)] = WorkerProcess.start(self._job, self._context)

    def reports(self, patience: float) -> list[Report]:
        """What there is to say of the workers as soon as one speaks, dies or passes a limit, after `patience` seconds at the
        latest; those that ended leave the pool."""
        sources = {source: number for number, worker in self._workers.items() for source in worker.sources}
        ready = self._wait(list(sources), min(patience, self._next_moment() - time.perf_counter()))
        speaking = dict.fromkeys(sources[source] for source in ready)
        found = [self._report(number) for number in speaking]
        passed = {number: why for number, worker in self._workers.items() if (why := self._passed(worker))}
        return found + [self._end(number, why) for number, why in passed.items()]

    def hand(self, number: int, place: Place, fresh: bool) -> bool:
        """Whether the worker could be handed the place; a dead one cannot, nor, where it must be `fresh`, one that has taken
        a place before: it leaves the pool, to make room."""
        if fresh and self._workers[number].taken:
            self._workers.pop(number).end()
            return False
        return self._workers[number].hand(place)

    def dismiss(self, patience: float) -> None:
        """End all workers: the idle ones may take `patience` seconds to end by themselves, the others are killed."""
        for worker in self._workers.values():
            worker.tell_to_end()
        for worker in self._workers.values():
            worker.end(patience)
        self._workers.clear()

    def _wait(self, sources: list[Any], seconds: float) -> list[Any]:
        """Those that are ready, as soon as one is, after so many seconds at the latest. If this process itself was stopped
        (Ctrl-Z stops its workers too), that time is not laid to the charge of cells."""
        began = time.perf_counter()
        ready = wait(sources, None if seconds == math.inf else max(0.0, seconds))
        stopped = time.perf_counter() - began - max(0.0, seconds)
        if stopped > LONGEST_DELAY:
            for worker in self._workers.values():
                worker.forgive(stopped)
        return ready

    def _next_moment(self) -> float:
        """When a limit may be passed, or a pause ends."""
        now = time.perf_counter()
        moments = [self._deadline(worker) for worker in self._workers.values()]
        if min(moments, default=math.inf) < math.inf:
            moments.append(now + LONGEST_DELAY)  # or a stop during a long wait would go unseen
        if self._limits.memory < math.inf and self.busy():
            moments.append(now + TICK)
        if self._pause_ends > now:
            moments.append(self._pause_ends)
        return min(moments, default=math.inf)

    def _deadline(self, worker: WorkerProcess) -> float:
        if worker.held is not None:
            return worker.held.since + self._limits.seconds
        return math.inf if worker.ready else worker.since + self._start_time()

    def _start_time(self) -> float:
        return math.inf if self._limits.seconds == math.inf else max(START_TIME, self._limits.seconds)

    def _passed(self, worker: WorkerProcess) -> str:
        """Which limit the worker passed; empty if none."""
        if time.perf_counter() >= self._deadline(worker):
            start = f"took longer than {said_duration(self._start_time())} to start"
            return start if worker.held is None else self._limits.too_long
        return self._limits.too_much if worker.held is not None and self._is_too_large(worker) else ""

    def _is_too_large(self, worker: WorkerProcess) -> bool:
        return self._limits.memory < math.inf and worker.resident() > self._limits.memory

    def _report(self, number: int) -> Report:
        worker = self._workers[number]
        answer = worker.hear()
        if answer is None:
            self._pause_after_death()
            return self._end(number, "")
        held, worker.held, worker.ready = worker.held, None, True
        if held is not None:
            self._deaths = 0
        elif self._is_too_large(worker):
            answer = Answer(problem=self._limits.too_low(worker.resident()))
        return Report(number, held, answer)

    def _end(self, number: int, why: str) -> Report:
        """The report of a worker that died, or is ended for the reason `why`."""
        worker = self._workers.pop(number)
        held, first = worker.held, worker.taken <= 1
        died = worker.end(0.0 if why else GRACE)
        answer = None if held is None else written(self._job, held.place.key)
        return Report(number, held, answer, why or died, bool(why), blamed=first or why != self._limits.too_much)

    def _pause_after_death(self) -> None:
        """Workers that die at once, one after another, are not replaced at once."""
        self._deaths += 1
        if self._deaths > 1:
            pause = FIRST_PAUSE * 2.0 ** min(self._deaths - 2, 20)
            self._pause_ends = time.perf_counter() + min(pause, LONGEST_PAUSE)


def written(job: Job, key: str) -> Answer | None:
    """The answer of a worker that wrote its cell before it ended; a failed one may be an earlier run's."""
    try:
        cell = job.store.read(key)
    except DamagedFileError:
        return None
    return None if cell is None or cell.status == "failed" else Answer(cell.status, cell.seconds)
