"""Walks that hypothesis invents: cells written, processes that die in the middle, bits that rot, files deleted, runs resumed.

After every step the store is held against a plain dict. It was seen to fail where a damaged file was written over.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from seethrough.audit.cells.checksummed import SCHEMA
from seethrough.audit.cells.store import DamagedFileError, FolderInUseError, SchemaMismatchError, Store, encode, pending
from seethrough.reports.row import Cell
from tests.reliability.toys import checksummed, manifest_of, places

GRID = places(2)
KEYS = some.sampled_from([place.key for place in GRID])
OURS, NEWER = (f'"schema": {number}'.encode() for number in (SCHEMA, SCHEMA + 1))
CALLS = ("open", "fsync", "replace", "rename", "unlink", "mkdir")


class DeadError(BaseException):
    """The process is gone: nothing that it would still do happens."""


@contextmanager
def dying(at: int) -> Iterator[None]:
    """Within, the `at`-th call and all after it are not made."""
    count = 0

    def counted(name: str):
        real = getattr(os, name)

        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count >= at:
                raise DeadError
            return real(*arguments, **options)

        return call

    with mock.patch.multiple(os, **{name: counted(name) for name in CALLS}):
        yield


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store(Path(mkdtemp(prefix="store-machine-")))
        self.model: dict[str, Cell] = {}  # what is whole
        self.rotten: dict[str, bytes] = {}  # what is damaged, in its place
        self.aside: set[bytes] = set()  # what was moved

    def teardown(self) -> None:
        shutil.rmtree(self.store.directory)

    @rule(key=KEYS, note=some.text(max_size=3), failed=some.booleans())
    def write(self, key: str, note: str, failed: bool) -> None:
        cell = Cell(key, "failed" if failed else "ok", note)
        self.store.write(cell)
        self._moved(key)
        self.model[key] = cell

    @rule(key=KEYS, note=some.text(max_size=3), at=some.integers(1, 16))
    def die_writing(self, key: str, note: str, at: int) -> None:
        cell = Cell(key, "ok", note)
        try:
            with dying(at):
                self.store.write(cell)
        except DeadError:
            data = self.store.path(key).read_bytes() if self.store.path(key).exists() else None
            if key in self.rotten and data != self.rotten[key]:
                self._moved(key)
            if data is None:
                assert key not in self.model, "a dying writer took a whole cell along"
            elif data == encode(cell):
                self.model[key] = cell
            return
        self._moved(key)
        self.model[key] = cell

    @precondition(lambda machine: machine.model)
    @rule(position=some.integers(0, 10**6), bit=some.integers(0, 7), cut=some.booleans())
    def rot(self, position: int, bit: int, cut: bool) -> None:
        key = sorted(self.model)[position % len(self.model)]
        data = bytearray(encode(self.model.pop(key)))
        position %= len(data)
        data[position] ^= 1 << bit
        self.rotten[key] = bytes(data[:position] if cut else data)
        self.store.path(key).write_bytes(self.rotten[key])

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.path(key).unlink(missing_ok=True)
        self.model.pop(key, None)
        self.rotten.pop(key, None)

    @rule(retry=some.booleans(), at=some.none() | some.integers(1, 60))
    def resume(self, retry: bool, at: int | None) -> None:
        """A run: what is missing, and nothing else, is planned; what is damaged is moved aside; perhaps it dies."""
        failed = {key for key, cell in self.model.items() if cell.status == "failed"}
        expected = {place.key for place in GRID} - self.model.keys() | (failed if retry else set())
        if at is None:
            with self.store.lock():
                left = pending(GRID, self.store, retry)
                assert {place.key for place in left.todo} == expected
                assert len(left.damaged) == len(self.rotten)
                for key in tuple(self.rotten):
                    self._moved(key)
                self.store.write_manifest(manifest_of(GRID))
                for key in sorted(expected):
                    self.write(key, "resumed", False)
            assert not list(self.store.directory.rglob("*.tmp"))
        else:
            try:
                with dying(at), self.store.lock():
                    pending(GRID, self.store, retry)
            except DeadError:
                pass
            for key in tuple(self.rotten):
                if not self.store.path(key).exists():
                    self._moved(key)

    @rule()
    def two_clients(self) -> None:
        with self.store.lock(), pytest.raises(FolderInUseError), self.store.lock():
            pytest.fail("two runs in one folder")

    @rule(key=KEYS)
    def meet_a_newer_file(self, key: str) -> None:
        """It is refused by reader, writer and run, and stays as it was."""
        path = self.store.path(key)
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        newer = encode(Cell(key, "ok")).replace(OURS, NEWER)
        path.write_bytes(checksummed(newer.partition(b"\n")[2]))
        for use in (lambda: self.store.read(key), lambda: self.store.write(Cell(key, "ok"))):
            with pytest.raises(SchemaMismatchError):
                use()
        assert NEWER in path.read_bytes()
        path.unlink()
        if before is not None:
            path.write_bytes(before)

    @invariant()
    def store_holds_what_the_model_holds(self) -> None:
        for place in GRID:
            if place.key in self.rotten:
                with pytest.raises(DamagedFileError):
                    self.store.read(place.key)
            else:
                assert self.store.read(place.key) == self.model.get(place.key)
        attic = {path.read_bytes() for path in (self.store.directory / "damaged").glob("*")}
        assert self.aside <= attic, "a damaged file was not kept"

    def _moved(self, key: str) -> None:
        if key in self.rotten:
            self.aside.add(self.rotten.pop(key))


@pytest.mark.parametrize(("walks", "steps"), [(30, 20), pytest.param(1000, 50, marks=pytest.mark.slow)])
def test_no_walk_leads_the_store_astray(measured, walks, steps):
    limits = settings(max_examples=walks, stateful_step_count=steps, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(StoreMachine, settings=limits)
    measured(walks, f"{walks} walks of up to {steps} steps")
