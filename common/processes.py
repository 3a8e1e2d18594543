"""Processes that are started afresh, and what of this one they are not to take over."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal

StartMethod = Literal["spawn", "forkserver", "fork"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What numerical libraries read as they are loaded: it must stand in the environment before a process starts."""

PRELOADED = ("seethrough.audit.cells.worker", "torch._dynamo")
"""What the server imports before it forks: our code for a cell, and what torch.func imports at its first call. None of it
asks for a GPU, and none is the user's, which each process is to import anew."""


def afresh(gpu: bool) -> StartMethod:
    """How to start a process that imports the user's code anew.

    Importing torch takes seconds. On Linux a server does it once and forks; elsewhere, where a GPU's driver may have been
    started, or where a Python has no safe path or a server that other users can reach (CVE-2022-42919), each process does.
    """
    if gpu or sys.platform != "linux" or sys.version_info < (3, 11, 1):
        return "spawn"
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    return "forkserver"


@contextmanager
def starting(threads: int) -> Iterator[None]:
    """Within, a process can be started whose libraries use so many threads, and a server that imports nothing from the folder
    in which it starts. Neither runs the user's main script anew, which would start the audit once more wherever a script
    has no `if __name__ == "__main__"`. Nothing that a process is handed may be defined there."""
    main, before = sys.modules["__main__"], dict(os.environ)
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)), PYTHONSAFEPATH="1")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        become(before)


def become(environment: dict[str, str]) -> None:
    """Take over the environment."""
    os.environ.update(environment)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
