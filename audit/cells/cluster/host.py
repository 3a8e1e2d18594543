"""What runs on a worker of Dask: it has a process of its own compute one cell at a time, as `WorkerPool` does here.

Cells are not computed in Dask's own process: a thread cannot be ended when it passes a limit, and a cell that kills its
process would take the connection with it.
"""

import json
import os
import socket
import tempfile
from collections.abc import Callable
from multiprocessing import current_process, get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import cast

from distributed import Status, get_worker

from seethrough.common.processes import afresh
from seethrough.reports.row import Place

from ...revision import code_revision
from ..job import Answer, Job
from ..pool import Report
from ..store import Store
from ..worker_pool import WorkerPool
from ..worker_process import Context
from .order import Greeting, Order, Served, read, versions_here, written

LOADED = code_revision(), versions_here()
"""What is imported here, which may be edited under the feet of a worker that lives for weeks."""
LOOKS = 0.25
"""Seconds between two looks whether a cell is still wanted."""
ATTEMPTS = 3
"""Processes that may die one after another before they take a place."""


def greet(order: str) -> str:
    """What this worker is, for the run to judge."""
    told, now = read(order, Order), (code_revision(), versions_here())
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0] if told.gpu else ""
    return written(Greeting(socket.gethostname(), gpu, *now, now != LOADED))


def serve(host: "Host", place: str, fresh: bool) -> tuple[str, bytes]:
    """What became of the place, and the cell's file as bytes where the run's folder is not there. Without a place, waits until
    one can be taken."""
    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]

    def is_wanted() -> bool:
        return task.state == "executing" and worker.status not in (Status.closing, Status.closed, Status.failed)

    return host.serve(Place(**json.loads(place)) if place else None, fresh, is_wanted)


class Host:
    """The process that computes a run's cells on this worker, for as long as the run holds on to it."""

    def __init__(self, order: str) -> None:
        told = read(order, Order)
        self._shares = _is_there(told)
        folder = told.directory if self._shares else tempfile.mkdtemp(prefix="cells-", dir=get_worker().local_directory)
        self._store = Store(Path(folder))
        job = Job(told.computes(), self._store, told.threads, told.seed, told.code, told.folder, told.versions)
        context = cast(Context, get_context(afresh(gpu=told.gpu)))
        self._pool = WorkerPool(job, 1, context, told.limits)
        self._waits: int | None = None  # the number of the process that is ready
        # Dask's nannies start workers as daemons, whose processes would outlive them; ours end with their parent.
        current_process().daemon = False
        Finalize(self, self._pool.dismiss, args=(0.0,), exitpriority=100)
        self._pool.fill(1)

    def serve(self, place: Place | None, fresh: bool, is_wanted: Callable[[], bool]) -> tuple[str, bytes]:
        """As the function; no process goes on with what is not wanted anymore."""
        futile = 0
        while is_wanted():
            if self._waits is not None:
                if place is None:
                    return written(Served(Answer())), b""
                number, self._waits = self._waits, None
                self._pool.hand(number, place, fresh)
            self._pool.fill(1)
            for report in self._pool.reports(LOOKS):
                if not report.ending:
                    self._waits = report.worker
                if place is not None and report.held is not None:
                    return self._served(report, place)
                futile = futile + 1 if report.ending else 0
                if problem := _problem(report, futile):
                    return written(Served(Answer(problem=problem))), b""
        self._pool.dismiss(patience=0.0)
        self._waits = None
        return written(Served(None, "its Dask worker was ended", lost=True)), b""

    def _served(self, report: Report, place: Place) -> tuple[str, bytes]:
        said = written(Served(report.answer, report.ending, report.limited, report.blamed))
        if self._shares or report.answer is None or report.answer.problem:
            return said, b""
        path = self._store.path(place.key)
        data = path.read_bytes()
        path.unlink()
        return said, data


def _problem(report: Report, futile: int) -> str:
    """Why a run cannot go on here; empty if it can."""
    if report.answer is not None and report.answer.problem:
        return f"{socket.gethostname()}: {report.answer.problem}"
    if futile < ATTEMPTS:
        return ""
    return f"{socket.gethostname()}: {futile} processes in a row died before they took a cell; the last one {report.ending}"


def _is_there(order: Order) -> bool:
    """Whether the run's folder is the same here: whether it holds the run's mark."""
    return (Path(order.directory) / order.mark).is_file()
