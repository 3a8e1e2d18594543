"""The power goes between any two calls of a run: what may be on disk then, and what the next run makes of it.

It was seen to fail without the sync of a file's data, without that of its folder, and when only the last of several new
folders was synced: a power cut could then take a whole run whose cells had been said to be kept.
"""

import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from seethrough.audit.cells.store import Store, encode, pending
from seethrough.common.files import make_directory
from seethrough.reports import write_reports
from seethrough.reports.row import Cell
from tests.reliability.crash_states import Call, Disk, Tree, followed
from tests.reliability.toys import cell_of, manifest_of, places

OUT = "new/folders/out"


class Recorded:
    """Runs of some cells in one folder, and every state that a power cut may have left of them, with what was kept by then."""

    def __init__(self, root: Path, cells: int) -> None:
        self.store, self.grid = Store(root / OUT), places(cells)
        self.kept: dict[str, bytes] = {}
        self.states: dict[frozenset, tuple[Tree, dict[str, bytes]]] = {}
        self.documents: dict[str, set[bytes | None]] = {}
        root.mkdir()
        self.disk = Disk(root, self._look)

    def replay(self, calls: Sequence[Call]) -> None:
        """What would have happened, had the calls come in this order."""
        self.disk, self.kept = Disk(self.disk.root, self._look), {}
        for name, arguments in calls:
            if name == "kept":
                self.kept[arguments[0]] = encode(noted(arguments[0], "1"))
            else:
                getattr(self.disk, name)(*arguments)

    def run(self, note: str) -> None:
        with followed(self.disk), self.store.lock():
            self.store.write_manifest(manifest_of(self.grid))
            pending(self.grid, self.store)  # moves aside what is damaged
            cells = [noted(place.key, note) for place in self.grid]
            for cell in cells:
                self.store.write(cell)
                self.kept[cell.key] = encode(cell)
            write_reports(self.store.directory, manifest_of(self.grid), cells)
        for path in self.store.directory.glob("[!.]*.*"):
            self.documents.setdefault(path.name, {None}).add(path.read_bytes())

    def damage(self, key: str) -> None:
        """Bits rot, on disk and for every reader."""
        damaged = self.kept[key] = f"damaged {key}".encode()
        self.store.path(key).write_bytes(damaged)
        node = self.disk.now[f"{OUT}/cells/{key}.json"]
        node.data = node.synced = damaged

    def _look(self) -> None:
        for tree in self.disk.states():
            self.states[frozenset((*tree.items(), *self.kept.items()))] = tree, dict(self.kept)


def noted(key: str, note: str) -> Cell:
    return replace(cell_of(key), note=note)


def is_damaged(data: bytes | None) -> bool:
    return data is not None and data.startswith(b"damaged")


def check(found: Tree, kept: dict[str, bytes], recorded: Recorded, folder: Path) -> None:
    """The next run opens what is there, whole or absent, and comes to the end."""
    store, everything = lay(found, folder), set(found.values())
    for name, versions in recorded.documents.items():
        assert found.get(f"{OUT}/{name}") in versions, f"{name} is torn"
    present = {key: found.get(f"{OUT}/cells/{key}.json") for key in (place.key for place in recorded.grid)}
    with store.lock():
        left = pending(recorded.grid, store)
        assert len(left.damaged) == sum(is_damaged(data) for data in present.values())
        for key, data in kept.items():
            as_good = {data, encode(noted(key, "2")), *([None] if is_damaged(data) else [])}
            assert present[key] in as_good, f"{key} was kept and is lost"
            assert not is_damaged(data) or data in everything, "a damaged file was not kept"
        for place in left.todo:
            store.write(noted(place.key, "2"))
            assert store.read(place.key) is not None
        store.write_manifest(manifest_of(recorded.grid))
    assert not list(store.directory.rglob("*.tmp"))
    shutil.rmtree(folder)


def lay(found: Tree, folder: Path) -> Store:
    folder.mkdir()
    for place, data in found.items():
        if data is None:
            (folder / place).mkdir()
        else:
            (folder / place).write_bytes(data)
    return Store(folder / OUT)


def checked(recorded: Recorded, folder: Path) -> int:
    """How many states there are, all of them checked."""
    with mock.patch.object(os, "fsync"):  # of the checks: they outlive no power cut
        for tree, kept in recorded.states.values():
            check(tree, kept, recorded, folder)
    return len(recorded.states)


@pytest.mark.parametrize("cells", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_whatever_a_power_cut_leaves_the_next_run_finds_each_kept_cell_whole(tmp_path, measured, cells):
    recorded = Recorded(tmp_path / "root", cells)
    recorded.run("1")
    for place in recorded.grid[::2]:
        recorded.damage(place.key)
    recorded.run("2")
    states = checked(recorded, tmp_path / "after")
    assert states > 20 * cells
    measured(
        states, f"{states} states of the disk after two runs of {cells} cells, half of them damaged between the two"
    )


@pytest.mark.parametrize(("share", "merges"), [(2, 10), pytest.param(5, 400, marks=pytest.mark.slow)])
def test_a_power_cut_while_two_workers_write_takes_no_kept_cell(tmp_path, measured, share, merges):
    """What each of two workers calls, laid between the calls of the other at random, on a disk that is only thought."""
    recorded, rng = Recorded(tmp_path / "root", 2 * share), random.Random(0)
    with followed(recorded.disk):
        make_directory(recorded.store.directory / "cells")
    base, traces = tuple(recorded.disk.log), []
    for part in (recorded.grid[:share], recorded.grid[share:]):
        recorded.disk.log.clear()
        for place in part:
            with followed(recorded.disk):
                recorded.store.write(noted(place.key, "1"))
            recorded.disk.log.append(("kept", (place.key,)))
        traces.append(tuple(recorded.disk.log))
    recorded.states.clear()
    for _ in range(merges):
        recorded.replay([*base, *merged(*traces, rng)])
    states = checked(recorded, tmp_path / "after")
    assert states > 50
    measured(states, f"{states} states of the disk while two workers write {share} cells each, in {merges} orders")


def merged(first: Sequence[Call], second: Sequence[Call], rng: random.Random) -> list[Call]:
    turns = [first] * len(first) + [second] * len(second)
    rng.shuffle(turns)
    parts = {id(first): iter(first), id(second): iter(second)}
    return [next(parts[id(turn)]) for turn in turns]
