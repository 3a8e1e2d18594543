"""A run's pool on a cluster: the order that its workers get, and the mark by which they know its folder."""

import math
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from seethrough.common.errors import InputError

from ...manifest import versions
from ..job import Job
from ..limits import Limits
from .connection import connected_to, local_cluster
from .order import Order, described
from .pool import DaskPool


@contextmanager
def cluster_pool(
    scheduler: str, job: Job, workers: int, device: torch.device, limits: Limits, tell: Callable[[str], None]
) -> Iterator[tuple[DaskPool, int]]:
    """The workers that `scheduler` has, and those that join it, up to `workers` of them (0: all); without an address, so many
    of this machine. Beside it, how many are expected.

    Raises: RunError; InputError, if the scheduler does not answer, or for more local workers than GPUs to compute on.
    """
    gpus = gpus_here() if device.type == "cuda" else []
    if gpus and not scheduler and workers > len(gpus):
        raise InputError(f"--workers: found {workers} for {len(gpus)} GPU(s); allowed: one worker a device.")
    order = _order(job, device, limits)
    mark = Path(order.directory) / order.mark
    mark.touch()
    try:
        with connected_to(scheduler) if scheduler else local_cluster(workers, job.threads, gpus) as client:
            pool = DaskPool(client, job, order, workers or math.inf, tell)
            yield pool, workers or max(1, len(pool.present()))
    finally:
        mark.unlink(missing_ok=True)


def gpus_here() -> list[str]:
    """The devices that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _order(job: Job, device: torch.device, limits: Limits) -> Order:
    computation, text = described(job.compute)
    return Order(
        computation=computation,
        described=text,
        code=job.code,
        versions=versions(device, job.threads),
        threads=job.threads,
        seed=job.seed,
        directory=str(job.store.directory.resolve()),
        mark=f".shared.{os.getpid()}-{secrets.token_hex(8)}.tmp",  # removed with the temporary files, if nobody else does
        folder=os.getcwd(),
        seconds=limits.seconds,
        memory=limits.memory,
    )
