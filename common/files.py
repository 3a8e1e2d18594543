"""Files that are either whole or absent, whenever the process or the machine stops.

Holds on a local POSIX file system that honors fsync; on a network file system, for one writer per folder.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Give `path` the content `data` in one step, durably: a reader finds the old file or the new one, whole.

    Raises: OSError, which names `path`, with the old file untouched and nothing left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp")
    with naming(path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_directory(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Give `path` the content `text`, as UTF-8, as `write_bytes_atomically` does."""
    write_bytes_atomically(path, text.encode())


def make_directory(path: Path) -> None:
    """Make `path` a directory, and those above it that there are not, with names that survive a power cut."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until the names in the directory are on disk: a rename is durable only then. Windows opens no directory as a file:
    there, nothing is done."""
    if os.name != "posix":
        return
    with naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError raised within names `path`: by itself one on an open file names none, and one on a temporary file another."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_temporaries(directory: Path) -> None:
    """Remove what dead writers left in `directory`.

    Call it only while no other process may write there: a living writer's temporary file looks the same.
    """
    for path in directory.glob(f".*.*-{'[0-9a-f]' * 16}.tmp"):
        path.unlink(missing_ok=True)
