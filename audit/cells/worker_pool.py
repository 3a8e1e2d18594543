"""The worker processes of one run: started, heard, buried, dismissed."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from seethrough.common.processes import starting
from seethrough.reports.row import Place

from .store import DamagedFileError
from .worker import INTERRUPTS, Answer, Job, keep, work

GRACE = 10.0
"""Seconds that a worker has to end by itself after it closed its pipe or was told to stop."""

Context = SpawnContext | ForkServerContext | ForkContext


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
    answer: Answer  # a dead one's is made for it
    ending: str = ""  # how a dead one ended


@dataclass(frozen=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection


class WorkerPool:
    """Up to `size` workers; a number, once given to a worker, is never given to another."""

    def __init__(self, job: Job, size: int, context: Context) -> None:
        self._job, self._size, self._context = job, size, context
        self._workers: dict[int, _Worker] = {}
        self._held: dict[int, Held] = {}
        self._numbers = count()

    def busy(self) -> bool:
        """Whether any worker holds a place."""
        return bool(self._held)

    def fill(self, waiting: int) -> None:
        """Start workers until the pool is complete, or enough for what they hold and `waiting` places more."""
        while len(self._workers) < min(self._size, waiting + len(self._held)):
            with _interrupts_deferred():
                self._workers[next(self._numbers)] = _start(self._job, self._context)

    def reports(self) -> list[Report]:
        """What the workers have to say, as soon as one speaks or dies; the dead leave the pool."""
        ready = set(wait([source for worker in self._workers.values() for source in _sources(worker)]))
        speaking = [number for number, worker in self._workers.items() if ready.intersection(_sources(worker))]
        return [self._report(number) for number in speaking]

    def hand(self, number: int, place: Place) -> bool:
        """Whether the worker could be handed the place: a dead one cannot."""
        try:
            self._workers[number].pipe.send(place)
        except OSError:
            return False
        self._held[number] = Held(place, time.perf_counter())
        return True

    def dismiss(self, patience: float) -> None:
        """End all workers: the idle ones may take `patience` seconds to end by themselves, the others are killed."""
        for worker in self._workers.values():
            with suppress(OSError):  # a dead one needs no telling
                worker.pipe.send(None)
            worker.pipe.close()
        for worker in self._workers.values():
            worker.process.join(patience)
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.join()
            worker.process.close()
        self._workers.clear()
        self._held.clear()

    def _report(self, number: int) -> Report:
        held = self._held.pop(number, None)
        answer = _hear(self._workers[number].pipe)
        if answer is not None:
            return Report(number, held, answer)
        ending = _bury(self._workers.pop(number))
        return Report(number, held, _after_death(self._job, held, ending) if held else Answer(), ending)


def _sources(worker: _Worker) -> tuple[Connection, int]:
    return worker.pipe, worker.process.sentinel


def _start(job: Job, context: Context) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(job, dict(os.environ), theirs))
    try:
        with starting(job.threads):
            process.start()
    finally:
        theirs.close()  # so that the worker alone holds its end
    return _Worker(process, ours)


def _hear(pipe: Connection) -> Answer | None:
    try:
        return pipe.recv() if pipe.poll() else None
    except (EOFError, OSError):
        return None


def _bury(worker: _Worker) -> str:
    """How the worker ended."""
    worker.pipe.close()
    worker.process.join(GRACE)
    worker.process.kill()
    worker.process.join()
    code = worker.process.exitcode or 0
    worker.process.close()
    return f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"


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


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Ctrl-C and a request to end wait until the block is left; a process started within has them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
