"""System calls that fail, counted from the first one on, as SQLite tests itself.

What the product calls of `os`, `fcntl` and `open` is replaced, in a process that was forked for it: every call that reaches
below a folder is counted, over all processes of a run, and one of them fails, or is the last thing that its process does.
`test_faults.py` holds what is counted here against what strace sees.
"""

import builtins
import errno
import fcntl
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Value
from typing import Any

BY_PATH = ("open", "mkdir", "unlink", "remove", "rmdir", "stat", "lstat", "scandir", "rename", "replace", "link")
BY_DESCRIPTOR = ("fsync", "write", "pwrite", "ftruncate")
TAKES_SPACE = ("open", "mkdir", "fsync", "write", "pwrite", "rename", "replace", "link")

KILL, DIE = "KILL", "DIE"  # the run with all its processes, or the process that calls
real = {name: getattr(os, name) for name in (*BY_PATH, *BY_DESCRIPTOR)}
real_open, real_flock = io.open, fcntl.flock


@dataclass
class Faults:
    """What becomes of the `fatal`-th call below `root`: an errno's name, KILL or DIE. 0: nothing, calls are only counted."""

    root: str
    trail: str  # a file, elsewhere, that names every call as it comes
    fatal: int = 0
    what: str = KILL
    lasting: bool = False  # every later call that takes space fails as well: the disk stays full
    count: Any = field(default_factory=lambda: Value("i", 0))

    def reach(self, name: str, path: str) -> None:
        """One call arrives. Raises: OSError, if it is the one that fails."""
        if not os.path.abspath(path).startswith(self.root):
            return
        with self.count.get_lock():
            self.count.value += 1
            number = self.count.value
            descriptor = real["open"](self.trail, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            real["write"](descriptor, f"{number} {name} {path}\n".encode())
            os.close(descriptor)
        if number == self.fatal or (self.lasting and 0 < self.fatal < number and name in TAKES_SPACE):
            self._fail(name, path)

    def _fail(self, name: str, path: str) -> None:
        if self.what == KILL:
            os.killpg(0, signal.SIGKILL)
        if self.what == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.what)
        named = (path,) if name in BY_PATH else ()  # as the system does: a descriptor has no name
        raise OSError(number, os.strerror(number), *named)

    def install(self) -> None:
        """Replace the calls of this process, and of all that are forked from it."""
        for name in BY_PATH:
            setattr(os, name, partial(_by_path, self, name))
        for name in BY_DESCRIPTOR:
            setattr(os, name, partial(_by_descriptor, self, name))
        fcntl.flock = partial(_locked, self)
        io.open = builtins.open = partial(_opened, self)  # type: ignore[assignment]


def _by_path(faults: Faults, name: str, path: Any = ".", *arguments: Any, **options: Any) -> Any:
    if isinstance(path, str | os.PathLike):
        faults.reach(name, os.fspath(path))
    return real[name](path, *arguments, **options)


def _by_descriptor(faults: Faults, name: str, descriptor: int, *arguments: Any) -> Any:
    faults.reach(name, path_of(descriptor))
    return real[name](descriptor, *arguments)


def _locked(faults: Faults, descriptor: int, operation: int) -> None:
    faults.reach("flock", path_of(descriptor))
    real_flock(descriptor, operation)


def path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


class _File(io.FileIO):
    """A file whose reads and writes are counted."""

    reach: Callable[[str, str], None]

    def write(self, data: Any) -> int:
        self.reach("write", path_of(self.fileno()))
        return super().write(data)

    def readall(self) -> bytes:
        self.reach("read", path_of(self.fileno()))
        return super().readall()


def _opened(faults: Faults, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
    below = isinstance(file, int) and path_of(file).startswith(faults.root)
    if isinstance(file, str | os.PathLike):
        faults.reach("open", os.fspath(file))
        below = os.path.abspath(file).startswith(faults.root)
    if not below or mode not in ("rb", "wb"):
        return real_open(file, mode, *arguments, **options)
    raw = type("_Counted", (_File,), {"reach": staticmethod(faults.reach)})(file, mode)
    return io.BufferedWriter(raw) if mode == "wb" else io.BufferedReader(raw)
