"""Zip archives: a directory of bounded size, and members read piece by piece."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from .files import CHUNK, FilePath, opened, refusal, shown

MAX_READ = 2 * 2**20

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError)
_PYTHON_ERRORS = (OSError, ValueError, RuntimeError, OverflowError, LookupError)


@contextmanager
def opened_archive(path: FilePath, limit: int, allowed: str) -> Iterator[zipfile.ZipFile]:
    """The archive, open for reading, if its file has at most `limit` bytes.

    Raises: UntrustedFileError, also for a damaged archive within the `with` block, which says that `allowed` is.
    """
    with opened(path, limit) as file:
        try:
            with zipfile.ZipFile(cast(IO[bytes], _Bounded(path, file))) as archive:
                yield archive
        except (*_ZIP_ERRORS, *_PYTHON_ERRORS) as error:
            raise refusal(path, f"a damaged archive ({shown(str(error))})", allowed) from error


def check_count(path: FilePath, members: list[zipfile.ZipInfo], limit: int) -> None:
    """Raises: UntrustedFileError, for more members than that, or for two of one name."""
    names = {member.filename for member in members}
    if len(members) > limit or len(names) < len(members):
        found = f"{len(members)} members of {len(names)} names"
        raise refusal(path, found, f"at most {limit} members, each name once")


def fill(memory: memoryview, stream: IO[bytes]) -> None:
    """Fill all of `memory` with what comes next. Raises: EOFError."""
    filled = 0
    while filled < len(memory):
        chunk = stream.read(min(CHUNK, len(memory) - filled))
        if not chunk:
            raise EOFError(f"{len(memory)} bytes claimed, {filled} there")
        memory[filled : filled + len(chunk)] = chunk
        filled += len(chunk)


class _Bounded:
    """A file of which MAX_READ is read at a time at most: zipfile reads a directory of any size at once."""

    def __init__(self, path: FilePath, file: BinaryIO) -> None:
        self._path, self._file, self._size = path, file, os.fstat(file.fileno()).st_size
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self.tell(), 0)
        wanted = left if size < 0 else min(size, left)
        if wanted > MAX_READ:
            raise refusal(self._path, f"an archive directory of {wanted} bytes", f"at most {MAX_READ}")
        return self._file.read(wanted)
