"""Shards of one audit put together in a folder of their own, as one run would have left it."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console

from seethrough.common.errors import InputError
from seethrough.reports import Cell, Manifest, write_reports

from .cells.finished import finished_cells, read_manifest, sound_cell
from .cells.store import Store, encode
from .earlier_plans import with_history


def merge(
    sources: Sequence[Path], directory: Path, err: Console, include_private: bool = False
) -> tuple[Manifest, list[Cell]]:
    """Copy the cells of `sources`, folders of the same audit, to `directory`, and write its reports. What several of them hold
    must be the same but for the seconds that it took; of a cell that failed in some, the one that did not is taken. Nothing is
    written unless all of them fit. What was merged, and the cells, are returned; damaged cells are named and left out.

    Raises: InputError, naming the folder and what does not fit; OSError.
    """
    if directory.resolve() in [source.resolve() for source in sources]:
        raise InputError(f"--out: found {directory}, which is to be merged; allowed: a folder of its own.")
    stores = [Store(source) for source in (*_earlier(directory), *sources)]
    manifest = _common_manifest(stores)
    chosen = _chosen(stores, manifest, err)
    target = Store(directory)
    with target.lock():
        if not _earlier(directory):
            manifest = with_history(manifest, None, target, replaces=True)
        target.write_manifest(manifest)
        for key, store in chosen.items():
            cell = store.read(key)
            if cell is not None and store.directory != directory:
                target.write(cell)
        cells = finished_cells(target, manifest, err)
        write_reports(directory, manifest, cells, include_private)
    return manifest, cells


def _earlier(directory: Path) -> tuple[Path, ...]:
    """The folder, where something was merged in it before: that stays."""
    return (directory,) if (directory / "manifest.json").exists() else ()


def _common_manifest(stores: Sequence[Store]) -> Manifest:
    """What all of them planned, with all plans that any had before. Raises: InputError, naming two that did not plan the same,
    and what differs."""
    first, *others = [(store.directory, read_manifest(store)) for store in stores]
    for directory, manifest in others:
        for field in (each for each in fields(Manifest) if each.name != "earlier"):
            mine, other = getattr(first[1], field.name), getattr(manifest, field.name)
            if mine != other:
                raise InputError(
                    f"{directory}: found {_differing(field.name, mine, other)} than in {first[0]}; allowed: shards of one "
                    "spec, by the same code, with the same library versions, on one kind of machine."
                )
    earlier = {each for _, manifest in (first, *others) for each in manifest.earlier}
    return replace(first[1], earlier=tuple(sorted(earlier, key=lambda each: (each.until, each.measured))))


def _differing(field: str, mine: object, other: object) -> str:
    """What of a field differs, in words; of pairs, the name and both values of the first one that does."""
    if field in ("versions", "hashes") and isinstance(mine, tuple) and isinstance(other, tuple):
        known, found = dict(mine), dict(other)
        name = next(name for name in {**known, **found} if known.get(name) != found.get(name))
        return f"another {name} ({found.get(name, 'none')!s:.40} instead of {known.get(name, 'none')!s:.40})"
    return f"other {field}" if field.endswith("s") else f"another {field}"


def _chosen(stores: Sequence[Store], manifest: Manifest, err: Console) -> dict[str, Store]:
    """Who has which cell. Raises: InputError, for one that two of them have with other content."""
    chosen: dict[str, Store] = {}
    contents: dict[str, str] = {}  # their hashes; empty for failed ones
    for store in stores:
        for key in dict.fromkeys(place.key for place in manifest.places + manifest.trainings):
            cell = sound_cell(store, key, err, "it is left out")
            if cell is None:
                continue
            content = "" if cell.status == "failed" else _content(cell)
            if contents.get(key) and content and contents[key] != content:
                raise InputError(
                    f"{store.path(key)}: found another content than in {chosen[key].path(key)}; allowed: the same, as "
                    "the same code makes it on one kind of machine."
                )
            if key not in chosen or (content and not contents[key]):
                chosen[key], contents[key] = store, content
    return chosen


def _content(cell: Cell) -> str:
    """A hash of a cell without the seconds that it took."""
    training = cell.utility if cell.utility is None else replace(cell.utility, seconds=0.0)
    return hashlib.sha256(encode(replace(cell, seconds=0.0, utility=training))).hexdigest()
