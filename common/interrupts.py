"""Ctrl-C and a request to end, put off where they would do harm."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGTERM})


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Interrupts wait until the block is left; a process started within has them blocked. Windows has none to put off."""
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
