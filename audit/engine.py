"""Who computes cells: processes of this machine, or the workers of a Dask cluster."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Literal, cast, get_args

import torch

from seethrough.common.errors import InputError
from seethrough.common.processes import StartMethod

from .cells.job import Job
from .cells.limits import Limits
from .cells.pool import Pool
from .cells.worker_pool import WorkerPool
from .cells.worker_process import Context

EngineName = Literal["local", "dask"]


@dataclass(frozen=True)
class Engine:
    """An engine by its name, and the address of the scheduler that it is to use; without one, Dask's workers are local too."""

    name: EngineName = "local"
    scheduler: str = ""


LOCAL = Engine()


def engine_from(name: str, scheduler: str | None) -> Engine:
    """The engine that a user names, which is installed. Raises: InputError."""
    if name not in get_args(EngineName):
        raise InputError(f"--engine: found {name!r:.60}; allowed: {', '.join(get_args(EngineName))}.")
    if scheduler is not None and name != "dask":
        raise InputError(
            f"--scheduler: found {scheduler!r:.100} with --engine {name}; allowed: with --engine dask alone."
        )
    if scheduler is not None and not scheduler.strip():
        raise InputError("--scheduler: found an empty address; allowed: one such as tcp://10.0.0.5:8786.")
    if name == "dask" and find_spec("distributed") is None:
        installed = "seethrough installed with its extra `dask` (pip install 'seethrough[dask]'), or --engine local"
        raise InputError(f"--engine: found dask, but no package `distributed`; allowed: {installed}.")
    return Engine(cast(EngineName, name), scheduler or "")


def workers_for(device: torch.device, threads: int, engine: Engine = LOCAL) -> int:
    """As many workers as cores allow with so many threads each; one on a GPU, or by Dask one on each; 0, for as many as there
    are, where a scheduler has its own."""
    if engine.scheduler:
        return 0
    if device.type == "cuda":
        return torch.cuda.device_count() if engine.name == "dask" else 1
    return max(1, len(os.sched_getaffinity(0)) // threads)


def check_engine(engine: Engine) -> None:
    """Raises: InputError, if the engine's scheduler does not answer."""
    if engine.scheduler:
        from .cells.cluster.connection import check_scheduler  # imports Dask, as no other run does

        check_scheduler(engine.scheduler)


@contextmanager
def pool_of(
    engine: Engine,
    job: Job,
    workers: int,
    device: torch.device,
    limits: Limits,
    start_method: StartMethod,
    tell: Callable[[str], None],
) -> Iterator[tuple[Pool, int]]:
    """The engine's workers, `workers` of them at most (0: as many as there are), and how many are expected.

    Raises: InputError, if the engine cannot be had.
    """
    if engine.name == "local":
        yield WorkerPool(job, workers, cast(Context, get_context(start_method)), limits), workers
        return
    from .cells.cluster.start import cluster_pool

    with cluster_pool(engine.scheduler, job, workers, device, limits, tell) as found:
        yield found
