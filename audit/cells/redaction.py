"""What was recovered of real people, taken out of a run for good."""

from dataclasses import replace

from seethrough.reports.row import Cell, Manifest

from .store import Store

PRINTED = "report.pdf"  # may show pictures; whoever wants it again prints it again
REDACTED = "pictures and found labels were taken out; the numbers were computed with them"


def redacted(store: Store, manifest: Manifest) -> Manifest:
    """Take pictures and found labels out of every cell of the folder, whatever audit it belongs to, and delete damaged files
    and a printed page, which may hold some. Returns the manifest, which says so; it is written last, so that no broken-off
    run claims it.

    Raises: OSError; DamagedFileError, SchemaMismatchError, for a cell that cannot be read: nothing is claimed then.
    """
    for key in store.cell_keys():
        cell = store.read(key)
        if cell is not None and _holds_some(cell):
            store.write(replace(cell, pictures=None, labels=None))
    store.remove_damaged()
    (store.directory / PRINTED).unlink(missing_ok=True)
    said = replace(manifest, redacted=REDACTED)
    store.write_manifest(said)
    return said


def _holds_some(cell: Cell) -> bool:
    return cell.pictures is not None or cell.labels is not None
