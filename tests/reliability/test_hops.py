"""A worker breaks at every hop of a cell, in every way: its own cell says so, or is kept, and no other is touched.

It was seen to fail where a dead worker's file was not looked for (a cell that was kept was called failed).
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from seethrough.audit.cells.runner import run_cells
from seethrough.audit.cells.store import Store
from seethrough.reports.row import Cell, Place
from tests.reliability.toys import cell_of, ignore, note, noted, places


def raises() -> None:
    raise ValueError("broken here")


def exits() -> None:
    sys.exit("leaving")


def leaves() -> None:
    os._exit(0)


def faults() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def needs_memory() -> None:
    bytearray(2**62)


WAYS: tuple[Callable[[], None], ...] = (raises, exits, leaves, faults, is_killed, needs_memory)
GUILTY = {f"k{2 * number + 1:03}": way for number, way in enumerate(WAYS)}
GRID = places(2 * len(WAYS) + 1)
PYTHON_IGNORES = {raises, exits, needs_memory}  # in a finalizer


def strike(key: str) -> None:
    if key in GUILTY:
        GUILTY[key]()


@dataclass(frozen=True)
class TrickyPlace(Place):
    """Strikes as a worker unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return arrived, tuple(getattr(self, field.name) for field in fields(Place))


def arrived(key: str, *rest: Any) -> Place:
    strike(key)
    return Place(key, *rest)


class TrickyText(str):
    """Strikes as it is pickled, in the answer that a cell is kept."""

    key: str

    def __reduce__(self) -> tuple[Any, ...]:
        strike(self.key)
        return str, (str(self),)


class TrickyScores(tuple):
    """Strikes as a cell is encoded."""

    key: str

    def __iter__(self) -> Any:
        strike(self.key)
        return super().__iter__()


@dataclass
class Refuse:
    """Strikes as Python throws it away."""

    key: str

    def __del__(self) -> None:
        strike(self.key)


@dataclass(frozen=True)
class TrickyStore(Store):
    """Strikes before a cell is written, or once it is."""

    after: bool = False

    def write(self, cell: Cell) -> None:
        if os.getpid() == RUN.get("pid"):  # what the run keeps for a dead worker
            return super().write(cell)
        if self.after:
            super().write(cell)
        strike(cell.key)
        return None if self.after else super().write(cell)


RUN: dict[str, int] = {}


@dataclass(frozen=True)
class Tricky:
    """The computation, which strikes at one hop."""

    hop: str
    log: str

    def __call__(self, place: Place) -> Cell:
        note(self.log, place.key)
        cell = cell_of(place.key)
        if self.hop == "computing":
            strike(place.key)
        if self.hop == "throwing away":
            Refuse(place.key)
        if self.hop == "encoding":
            scores = TrickyScores(cell.scores)
            scores.key = place.key
            return replace(cell, scores=scores)
        if self.hop == "answering":
            status = TrickyText(cell.status)
            status.key = place.key
            return replace(cell, status=status)  # type: ignore[arg-type]
        return cell


HOPS = ("unpickling", "computing", "throwing away", "encoding", "before the file", "after the file", "answering")


@pytest.mark.parametrize("hop", HOPS)
def test_whatever_breaks_a_worker_at_a_hop_costs_its_own_cell_at_most(tmp_path, measured, monkeypatch, hop):
    monkeypatch.setitem(RUN, "pid", os.getpid())
    log, grid, store = str(tmp_path / "log"), GRID, Store(tmp_path)
    if hop == "unpickling":
        grid = tuple(
            TrickyPlace(**{field.name: getattr(place, field.name) for field in fields(Place)}) for place in GRID
        )
    if hop in ("before the file", "after the file"):
        store = TrickyStore(tmp_path, after=hop == "after the file")
    run_cells(grid, Tricky(hop, log), store, 2, 1, ignore, 7, "revision", start_method="forkserver")
    kept = Store(tmp_path)
    for place in GRID:
        cell, way = kept.read(place.key), GUILTY.get(place.key)
        if way is None or hop in ("after the file", "answering") or (hop == "throwing away" and way in PYTHON_IGNORES):
            assert repr(replace(cell, seconds=0.5)) == repr(cell_of(place.key)), f"{place.key}: {cell.note}"
        else:
            assert (cell.status, cell.seed, cell.code) == ("failed", 7, "revision"), cell
            assert any(reason in cell.note for reason in ("exit code", "killed by signal", "broken here", "memory"))
    assert len(noted(log)) == len(set(noted(log))), "a cell was computed twice"
    assert not list(tmp_path.rglob("*.tmp"))
    measured(len(WAYS), f"{hop}: {len(WAYS)} ways")


@dataclass(frozen=True)
class BreaksOnce:
    """Breaks the first worker as it starts."""

    way: Callable[[], None]
    marker: str

    def __reduce__(self) -> tuple[Any, ...]:
        return started, (self.way, self.marker)

    def __call__(self, place: Place) -> Cell:
        return cell_of(place.key)


def started(way: Callable[[], None], marker: str) -> BreaksOnce:
    if not Path(marker).exists():
        Path(marker).touch()
        way()
    return BreaksOnce(way, marker)


def test_a_worker_that_breaks_as_it_starts_costs_nothing(tmp_path, measured):
    for way in WAYS:
        store = Store(tmp_path / way.__name__)
        compute = BreaksOnce(way, str(tmp_path / f"{way.__name__} has struck"))
        run_cells(GRID[:3], compute, store, 1, 1, ignore, start_method="forkserver")
        assert [store.read(place.key).status for place in GRID[:3]] == ["ok"] * 3
    measured(len(WAYS), f"starting: {len(WAYS)} ways")
