"""One worker process: takes one place at a time, computes its cell, writes the file, and answers that it is done."""

import os
import signal
import threading
import time
import traceback
from dataclasses import replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

import torch
from threadpoolctl import threadpool_limits

from seethrough.attacks import NoGradientError
from seethrough.common.errors import InputError
from seethrough.common.interrupts import INTERRUPTS
from seethrough.common.memory import is_out_of_memory, keep_freed_memory
from seethrough.common.processes import THREAD_VARIABLES, become
from seethrough.common.user_code import UserCodeError
from seethrough.defenses._base import NotApplicableError
from seethrough.reports.row import Cell, Place

from ..device import device_for
from ..manifest import versions
from ..revision import differing
from .compute import ChangedError
from .job import Answer, Job, keep
from .store import encode

NO_MEMORY = (
    "memory ran out, with one restart at a time ({:.200}); fewer --workers, smaller batches or networks need less"
)


def serve(job: Job, environment: dict[str, str], pipe: Connection) -> None:
    """Serve places from `pipe` until None comes, the pipe closes, or the parent dies, in the parent's environment.

    Ctrl-C is the parent's business: it kills its workers, whose files are whole or absent whenever that happens.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    become({**environment, **dict.fromkeys(THREAD_VARIABLES, str(job.threads))})
    threadpool_limits(job.threads)  # of what a server had loaded before
    torch.set_num_threads(job.threads)
    keep_freed_memory()
    if job.folder and os.path.isdir(job.folder):
        os.chdir(job.folder)
    try:
        pipe.send(Answer(problem=_misfit(job)))
        while (place := pipe.recv()) is not None:
            pipe.send(_serve(job, place))
    except (EOFError, BrokenPipeError):
        return


def _misfit(job: Job) -> str:
    """How this process differs from the one that planned; empty where it does not."""
    if not job.versions:
        return ""
    try:
        device = device_for("cuda" if dict(job.versions)["device"] == "cuda" else "cpu")
    except InputError as error:
        return str(error)
    found = differing(versions(device, job.threads), job.versions)
    return found and f"found {found}; allowed: the same libraries, kind of machine, device and threads as here."


def _serve(job: Job, place: Place) -> Answer:
    began = time.perf_counter()
    cell = _attempt(job, place)
    return keep(job, replace(cell, seconds=time.perf_counter() - began))


def _attempt(job: Job, place: Place) -> Cell:
    """The cell at `place`, fit to be kept: what stops the computation becomes its status and note."""
    try:
        cell = job.compute(place)
        if not isinstance(cell, Cell) or cell.key != place.key:
            raise TypeError(f"the computation returned {cell!r:.80}, expected the Cell of {place.key}")
        encode(cell)
    except NotApplicableError as error:
        return Cell(place.key, "n/a", str(error), seed=job.seed, code=job.code)
    except (NoGradientError, ChangedError, UserCodeError) as error:
        return job.failed(place, str(error))
    except Exception as error:
        note = NO_MEMORY.format(" ".join(str(error).split())) if is_out_of_memory(error) else traceback.format_exc()
        return job.failed(place, note)
    return cell


def _die_with_parent() -> None:
    """A run that was killed must not go on writing, however long the cell at hand takes."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
