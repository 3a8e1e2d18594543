"""What was recovered of real people, taken out of a run for good."""

import shutil
from dataclasses import replace

from seethrough.common.errors import InputError
from seethrough.reports.row import Cell

from .store import Store

REDACTED = "pictures, labels and the tracebacks of failed cells were taken out; the numbers were computed with them"

TAKEN_OUT = "redacted"  # what stands in the place of a traceback, which may quote what was private
PRINTED = "report.pdf"  # may show pictures; whoever wants it again prints it again


def redact(store: Store) -> None:
    """Take pictures, found labels and tracebacks out of every cell of the folder, whatever audit it belongs to, and delete
    what else may hold some: damaged files, a printed page, and what killed writers left. The documents are not written anew,
    and nothing is claimed; whoever does both claims it last, so that no broken-off redaction claims anything.

    Raises: OSError; InputError, for a file among the cells that is none; DamagedFileError, SchemaMismatchError, for a cell
    that cannot be read.
    """
    if strange := store.strange_files():
        raise InputError(
            f"{strange[0]}: found a file that is no cell; allowed: none, so move it away and redact once more."
        )
    for key in store.cell_keys():
        cell = store.read(key)
        if cell is not None and cell != (bare := _without(cell)):
            store.write(bare)
    left_over = [store.directory / "damaged", store.directory / PRINTED]
    for path in [*left_over, *store.directory.glob(".*.tmp"), *store.directory.glob(".pdf-*")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _without(cell: Cell) -> Cell:
    note = TAKEN_OUT if cell.status == "failed" else cell.note
    return replace(cell, pictures=None, labels=None, label_counts=None, note=note)
