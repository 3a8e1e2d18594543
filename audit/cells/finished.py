"""What a run left behind: its manifest and its finished cells. Knows nothing of torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from seethrough.common.console import warn
from seethrough.common.errors import InputError
from seethrough.reports.findings.text import last_line
from seethrough.reports.row import Cell, Manifest, Place

from .store import DamagedFileError, Store


def read_manifest(store: Store) -> Manifest:
    """What a run planned. Raises: InputError, if its folder holds none, or a damaged one."""
    try:
        return store.read_manifest()
    except (FileNotFoundError, NotADirectoryError):
        sentence = f"{store.directory}: found no manifest.json; allowed: a folder that `seethrough run` wrote."
        raise InputError(sentence) from None


def is_run(directory: Path) -> bool:
    """Whether a run has begun there, so that another one goes on from it."""
    return (directory / "manifest.json").exists()


def sound_cell(store: Store, key: str, err: Console, advice: str) -> Cell | None:
    """The cell, if it is finished; None, and the damaged file named with `advice`, if its file is damaged."""
    try:
        return store.read(key)
    except DamagedFileError as error:
        warn(err, f"{error}; {advice}")
        return None


def missing_cells(manifest: Manifest, cells: Sequence[Cell]) -> int:
    """How many of the planned cells are not among them; places of one cell are counted once."""
    return len(manifest.keys - {cell.key for cell in cells})


def finished_cells(store: Store, manifest: Manifest, err: Console, all_pictures: bool = False) -> list[Cell]:
    """The finished cells of the grid; a damaged one is named and left out. Pictures are most of a cell, and a report shows
    those of the first trial of each combination that has some: others are left out, unless `all_pictures`."""
    by_key: dict[str, list[Place]] = {}
    for place in manifest.planned:
        by_key.setdefault(place.key, []).append(place)
    cells: dict[str, Cell] = {}
    shown: set[tuple[str, ...]] = set()
    for key in sorted(by_key, key=lambda key: min(place.trial for place in by_key[key])):
        cell = sound_cell(store, key, err, "run the audit again to compute it anew")
        if cell is None:
            continue
        if cell.pictures is not None and not all_pictures:
            paths = {(place.setting, place.threat, place.defense, place.attack) for place in by_key[key]}
            cell = cell if paths - shown else replace(cell, pictures=None)
            shown |= paths
        cells[key] = cell
    return [cells[key] for key in by_key if key in cells]


def failed_cells(cells: Sequence[Cell]) -> int:
    """How many cells failed, or hold a score that did."""
    return sum(why_failed(cell) is not None for cell in cells)


def why_failed(cell: Cell) -> str | None:
    """In a line, why a cell, or the first score of it that did, failed; None where none did."""
    if cell.status == "failed":
        return last_line(cell.note)
    return next((last_line(score.note) for score in cell.scores if score.status == "failed"), None)
