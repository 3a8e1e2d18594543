"""A run's folder: one file per finished cell, the manifest, and the lock."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seethrough.common.files import make_directory, remove_temporaries, sync_directory, write_bytes_atomically
from seethrough.reports.row import Cell, Manifest, Place

from .checksummed import DamagedFileError, SchemaMismatchError, decode, decode_bytes, encode
from .lock import FolderInUseError, exclusive

KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
FOLDERS = ("", "cells", "generators")
"""Where a run writes: the manifest and documents, cells, and what attacks trained."""

__all__ = ["DamagedFileError", "FolderInUseError", "Pending", "SchemaMismatchError", "Store", "encode", "pending"]


@dataclass(frozen=True)
class Pending:
    """What is left to compute."""

    todo: tuple[Place, ...]
    damaged: tuple[str, ...]  # a sentence for each file that was moved aside
    failed: int = 0  # cells that failed and are left so


@dataclass(frozen=True)
class Store:
    """The folder of one run, on a local file system."""

    directory: Path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this run alone, cleared of what dead writers left. Raises: FolderInUseError."""
        make_directory(self.directory)
        with exclusive(self.directory / ".lock"):
            self._remove_temporaries()
            try:
                yield
            finally:
                self._remove_temporaries()

    def write(self, cell: Cell) -> None:
        """Keep `cell`, durably. A damaged file of that name is moved aside, a whole one replaced.

        Raises: TypeError or ValueError, for a cell that `encode` refuses; SchemaMismatchError.
        """
        self._write(self.path(cell.key), cell)

    def write_sealed(self, key: str, data: bytes, sender: str) -> None:
        """Keep the cell of that key whose file has the bytes `data`, as `write` does; `sender` names where they are from.

        Raises: DamagedFileError, for bytes that are not whole or another cell's; SchemaMismatchError.
        """
        cell = decode_bytes(data, Cell, sender)
        if cell.key != key:
            raise DamagedFileError(f"{sender} is damaged: it holds the cell {cell.key!r:.140}")
        self.write(cell)

    def read(self, key: str) -> Cell | None:
        """The finished cell of that key; None if there is none.

        Raises: DamagedFileError, SchemaMismatchError; OSError, where that cannot be known.
        """
        path = self.path(key)
        try:
            cell = decode(path, Cell)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if cell.key != key:
            raise DamagedFileError(f"{path} is damaged: it holds the cell {cell.key!r:.140}")
        return cell

    def cell_keys(self) -> tuple[str, ...]:
        """The keys of all cell files, whole or damaged, sorted."""
        stems = (path.stem for path in (self.directory / "cells").glob("*.json"))
        return tuple(sorted(stem for stem in stems if KEY.fullmatch(stem)))

    def set_aside(self, key: str) -> Path:
        """Where the file of that cell now lies, out of the way."""
        return self._set_aside(self.path(key))

    def strange_files(self) -> tuple[Path, ...]:
        """Files among the cells that are none by their names, sorted."""
        paths = sorted(path for path in (self.directory / "cells").glob("*") if not path.name.startswith("."))
        return tuple(path for path in paths if path.suffix != ".json" or not KEY.fullmatch(path.stem))

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep the manifest, as `write` keeps a cell."""
        self._write(self.directory / "manifest.json", manifest)

    def read_manifest(self) -> Manifest:
        """The manifest. Raises: FileNotFoundError, DamagedFileError, SchemaMismatchError."""
        path = self.directory / "manifest.json"
        manifest = decode(path, Manifest)
        for place in manifest.places + manifest.trainings:
            if not KEY.fullmatch(place.key):
                raise DamagedFileError(f"{path} is damaged: it plans a cell of the key {place.key!r:.140}")
        return manifest

    def path(self, key: str) -> Path:
        """The cell's file. Raises: ValueError, for a key that is no plain lower-case name."""
        if not KEY.fullmatch(key):
            raise ValueError(f"a key must match {KEY.pattern}, found {key!r:.140}")
        return self.directory / "cells" / f"{key}.json"

    def _write(self, path: Path, record: Cell | Manifest) -> None:
        data = encode(record)
        make_directory(path.parent)
        try:
            decode(path, type(record))
        except FileNotFoundError:
            pass
        except DamagedFileError:
            self._set_aside(path)
        write_bytes_atomically(path, data)

    def _set_aside(self, path: Path) -> Path:
        attic = self.directory / "damaged"
        make_directory(attic)
        number = 1
        while os.path.lexists(attic / f"{path.name}.{number}"):
            number += 1
        target = attic / f"{path.name}.{number}"
        os.rename(path, target)
        sync_directory(attic)
        sync_directory(path.parent)
        return target

    def _remove_temporaries(self) -> None:
        for folder in FOLDERS:
            remove_temporaries(self.directory / folder)


def pending(places: Sequence[Place], store: Store, retry_failed: bool = False) -> Pending:
    """The places, each key once, that have no whole file; damaged files are moved aside and named.

    Failed cells count as finished unless `retry_failed`. Raises: SchemaMismatchError.
    """
    todo: dict[str, Place] = {}
    damaged: list[str] = []
    failed: set[str] = set()
    for place in places:
        try:
            cell = store.read(place.key)
        except DamagedFileError as error:
            damaged.append(f"{error}; moved to {store.set_aside(place.key)}")
            cell = None
        if cell is None or (retry_failed and cell.status == "failed"):
            todo[place.key] = place
        elif cell.status == "failed":
            failed.add(place.key)
    return Pending(tuple(todo.values()), tuple(damaged), len(failed))
