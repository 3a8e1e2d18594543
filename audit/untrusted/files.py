"""What all readers share: the one exception, and the one way to open a file."""

import hashlib
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seethrough.common.errors import InputError

MAX_ELEMENTS = 2**31
MAX_DIMENSIONS = 8
CHUNK = 2**20

FilePath = str | Path


class UntrustedFileError(InputError):
    """A file cannot be used; the message names it, what was found and what is allowed."""


def refusal(path: FilePath, found: str, allowed: str) -> UntrustedFileError:
    """The exception to raise."""
    return UntrustedFileError(f"{path}: found {found}; allowed: {allowed}.")


def shown(value: object) -> str:
    """`value` as Python would write it, cut to a length fit for a sentence."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextmanager
def opened(path: FilePath, limit: float = math.inf) -> Iterator[BinaryIO]:
    """The file, open for reading, if it is a regular one of at most `limit` bytes.

    Raises: UntrustedFileError, also for an OSError within the `with` block.
    """
    with _unreadable(path):
        # looked at before it is opened: to open a device can have effects, to open a pipe can block for good
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise refusal(path, "no regular file", "regular files")
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - closed below
    with file, _unreadable(path):
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise refusal(path, f"{status.st_size} bytes", f"regular files of at most {limit} bytes")
        yield file


def read_whole(path: FilePath, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises: UntrustedFileError."""
    with opened(path, limit) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise refusal(path, "a file that grows while it is read", f"at most {limit} bytes")
    return data


def sha256_of(path: FilePath) -> str:
    """The SHA-256 of a regular file's content, in lower-case hex. Raises: UntrustedFileError."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_sane_shape(shape: tuple[int, ...]) -> bool:
    """Whether an array of that shape could be meant: an empty array can claim any other side for free."""
    return len(shape) <= MAX_DIMENSIONS and math.prod(max(side, 1) for side in shape) <= MAX_ELEMENTS


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


@contextmanager
def _unreadable(path: FilePath) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        found = f"no readable file ({getattr(error, 'strerror', None) or error})"
        raise refusal(path, found, "regular files that this user may read") from error
