"""One run per folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seethrough.common.errors import InputError
from seethrough.common.files import naming


class FolderInUseError(InputError):
    """Another run holds the folder; the message names its process and host."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the length of a `with` block.

    The kernel drops the lock when its last holder dies, so a killed run needs no unlocking. Forked workers hold
    it too, until they notice that their parent is gone.

    Raises: FolderInUseError, at once, if another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            with naming(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "a run that has just begun"
            raise FolderInUseError(
                f"{path.parent} is in use by {holder}; wait for it or choose another folder"
            ) from error
        with naming(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
