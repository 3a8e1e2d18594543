"""The way to Dask: to a scheduler that is there, or to one of this process with workers of this machine."""

import asyncio
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

from distributed import Client, Nanny, Scheduler, Security, SpecCluster
from distributed.core import rpc

from seethrough.common.errors import InputError
from seethrough.common.interrupts import interrupts_deferred
from seethrough.common.processes import become, starting

from ..pool import RunError

CONNECT = 10.0
"""Seconds that a scheduler may take to answer at first."""
GONE = "the Dask scheduler is gone; what is finished is kept, and the same command goes on from there once there is one"
SILENT = {"DASK_LOGGING__DISTRIBUTED": "critical"}
LOCAL = {"host": "127.0.0.1", "protocol": "tls://", "dashboard": False}
TALKATIVE = ("distributed", "dask", "tornado", "asyncio")


def check_scheduler(address: str) -> None:
    """Raises: InputError, if no scheduler answers at the address."""
    with silenced(), ThreadPoolExecutor(1) as beside:  # a notebook has an event loop of its own, which nobody may enter
        try:
            found = beside.submit(asyncio.run, asyncio.wait_for(_kind(address), CONNECT)).result()
        except (
            OSError,
            TimeoutError,
            ValueError,
            TypeError,
            RuntimeError,
            ImportError,
        ) as error:
            found = " ".join(str(error).split()).rstrip(".") or f"nobody answered within {CONNECT:g} s"
    if found != "Scheduler":
        allowed = "allowed: the address of a Dask scheduler that answers, such as tcp://10.0.0.5:8786"
        raise InputError(f"--scheduler: found {address!r:.100} ({found:.200}); {allowed}.")


async def _kind(address: str) -> str:
    """What answers at the address."""
    async with rpc(address, timeout=CONNECT, connection_args=Security().get_connection_args("client")) as somebody:
        kind: str = (await somebody.identity())["type"]
    return kind


@contextmanager
def connected_to(address: str) -> Iterator[Client]:
    """A client of the scheduler at the address, encrypted as Dask's own configuration says.

    Raises: InputError, if none answers there; RunError, if it is gone a moment later.
    """
    check_scheduler(address)
    with silenced():
        try:
            client = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise RunError(GONE) from error
        with closing(client):
            yield client


@contextmanager
def local_cluster(workers: int, threads: int, gpus: Sequence[str]) -> Iterator[Client]:
    """A client of as many workers of this machine, which nobody else can reach: they speak TLS by keys that are made for them.
    The n-th one sees the n-th of the `gpus` alone, if there are any. Raises: RunError."""
    security = Security.temporary()
    options: dict[str, Any] = {"nthreads": 1, "security": security, "memory_limit": None, **LOCAL}
    seen = [{"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {} for number in range(workers)]
    specified = {number: {"cls": Nanny, "options": {**options, "env": seen[number]}} for number in range(workers)}
    scheduler = {"cls": Scheduler, "options": {"port": 0, "security": security, **LOCAL}}
    with ExitStack() as stack:
        stack.enter_context(silenced())
        stack.enter_context(starting(threads))  # for as long as nannies may start workers
        cluster = _started(specified, scheduler, security)
        stack.callback(_quietly, cluster.close, timeout=CONNECT)
        yield stack.enter_context(closing(Client(cluster, set_as_default=False)))


def _started(workers: dict[int, Any], scheduler: dict[str, Any], security: Security) -> SpecCluster:
    """The cluster, whose workers leave Ctrl-C to this process: it is blocked in the threads that start them, and so in them.

    Raises: RunError.
    """
    resource_tracker.ensure_running()  # or the first of these threads does so, and lets interrupts through for good
    try:
        with interrupts_deferred():
            return SpecCluster(workers=workers, scheduler=scheduler, security=security, silence_logs=logging.CRITICAL)
    except (OSError, TimeoutError, RuntimeError) as error:
        why = " ".join(str(error.__cause__ or error).split())
        raise RunError(f"the workers of Dask cannot be started on this machine: {why:.300}") from error


@contextmanager
def closing(client: Client) -> Iterator[Client]:
    """Close the client in the end, whatever became of its scheduler."""
    try:
        yield client
    finally:
        _quietly(client.close, timeout=1.0)


@contextmanager
def silenced() -> Iterator[None]:
    """Nothing of Dask is printed: what matters is said in the run's own words. Workers that are started keep silent too."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in TALKATIVE]
    before, environment = {name: logging.getLogger(name).level for name in names}, dict(os.environ)
    os.environ.update(SILENT)
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=rf"({'|'.join(TALKATIVE)})\b")
            yield
    finally:
        become(environment)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _quietly(close: Any, timeout: float) -> None:
    with suppress(OSError, TimeoutError, RuntimeError):
        close(timeout=timeout)
