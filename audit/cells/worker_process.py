"""One worker process, as the run sees it: started, heard, weighed, ended."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

import psutil

from seethrough.common.interrupts import interrupts_deferred
from seethrough.common.processes import starting
from seethrough.reports.row import Place

from .job import Answer, Job, work
from .pool import Held

GRACE = 10.0
"""Seconds that a worker has to end by itself after it closed its pipe or was told to stop."""

Context = SpawnContext | ForkServerContext | ForkContext


@dataclass(eq=False)
class WorkerProcess:
    """A process and our end of its pipe."""

    process: BaseProcess
    pipe: Connection
    since: float = field(default_factory=time.perf_counter)
    ready: bool = False  # whether it said so
    taken: int = 0  # places so far
    held: Held | None = None

    @classmethod
    def start(cls, job: Job, context: Context) -> "WorkerProcess":
        """A new one. Ctrl-C and a request to end wait until it is started, and are blocked in it."""
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(job, dict(os.environ), theirs))
        try:
            with interrupts_deferred(), starting(job.threads):
                process.start()
        finally:
            theirs.close()  # so that the worker alone holds its end
        return cls(process, ours)

    @property
    def sources(self) -> tuple[Connection, int]:
        """What to wait for: that it speaks, or dies."""
        return self.pipe, self.process.sentinel

    def hear(self) -> Answer | None:
        """What it says; None where it is dead, or closed its pipe."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None

    def hand(self, place: Place) -> bool:
        """Whether it could be handed the place: a dead one cannot."""
        try:
            self.pipe.send(place)
        except OSError:
            return False
        self.taken, self.held = self.taken + 1, Held(place, time.perf_counter())
        return True

    def forgive(self, seconds: float) -> None:
        """Let its time have begun so much later."""
        self.since += seconds
        if self.held is not None:
            self.held = replace(self.held, since=self.held.since + seconds)

    def resident(self) -> int:
        """Bytes of main memory that it takes, what it shares with others included; none once it is dead.

        Not RLIMIT_AS, which counts addresses: torch with CUDA reserves more of them than any machine has memory.
        """
        try:
            return psutil.Process(self.process.pid).memory_info().rss
        except psutil.Error:
            return 0

    def tell_to_end(self) -> None:
        """Ask it to end when it has nothing to do, and hear it no more."""
        with suppress(OSError):  # a dead one needs no telling
            self.pipe.send(None)
        self.pipe.close()

    def end(self, patience: float = 0.0) -> str:
        """How it ended, by itself within `patience` seconds or else killed."""
        self.pipe.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        if code < 0:
            return f"was killed by signal {-code} ({signal.strsignal(-code)})"
        return f"ended with exit code {code}"
