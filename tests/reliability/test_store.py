"""The store: round trips, atomic writes, foreign files, the manifest."""

import contextlib
import errno
import io
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seethrough.audit.cells import checksummed as checking
from seethrough.audit.cells import store as stored
from seethrough.audit.cells.checksummed import SCHEMA
from seethrough.audit.cells.codec import LARGEST
from seethrough.audit.cells.store import (
    DamagedFileError,
    FolderInUseError,
    Pending,
    SchemaMismatchError,
    Store,
    encode,
    pending,
)
from seethrough.common import files
from seethrough.common.files import write_bytes_atomically, write_text_atomically
from seethrough.reports.row import Cell, Claim, Manifest, Pictures, Place, Score
from tests.reliability.toys import cell_of, checksummed, manifest_of, places

KEY = "k000"
any_text = st.text(st.characters(exclude_categories=()))
st.register_type_strategy(str, any_text)
st.register_type_strategy(int, st.integers(-LARGEST, LARGEST))
keys = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
hard = Score("", "higher", "ok", "\ud800 🔒", value=-0.0, worst=1e-320, decoy=math.nan, high=math.inf, n=2**53 + 1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@given(st.builds(Cell, key=keys))
@example(Cell(KEY, "ok", scores=(hard,), claim=Claim(-math.inf, 5e-324, ""), seconds=0.1 + 0.2, seed=-(2**70)))
@example(Cell(KEY, "failed", "x" * 10**6, pictures=Pictures(("é" * 10**6,), (), ("",))))
@settings(max_examples=300, deadline=None)
def test_any_cell_returns_as_it_was(shared, cell):
    shared.write(cell)
    assert repr(shared.read(cell.key)) == repr(cell)  # unlike ==, tells NaN, -0.0 and None apart


@given(st.builds(Manifest, places=st.lists(st.builds(Place, key=keys)).map(tuple)))
@settings(max_examples=50, deadline=None)
def test_any_manifest_returns_as_it_was(shared, manifest):
    shared.write_manifest(manifest)
    assert repr(shared.read_manifest()) == repr(manifest)


def test_a_cell_file_is_strict_json_behind_its_hash():
    document = json.loads(encode(Cell(KEY, "ok", scores=(hard,))).partition(b"\n")[2], parse_constant=pytest.fail)
    assert (document["format"], document["schema"]) == ("seethrough cell", SCHEMA)
    assert document["content"]["scores"][0]["decoy"] == "NaN"
    assert document["content"]["scores"][0]["perfect"] is None


def test_a_text_that_reads_nan_stays_a_text(shared):
    shared.write(Cell(KEY, "ok", "NaN", code="Infinity"))
    assert shared.read(KEY) == Cell(KEY, "ok", "NaN", code="Infinity")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"note": None}, "Cell.note"),
        ({"status": "fine"}, "Cell.status"),
        ({"seed": 1.0}, "Cell.seed"),
        ({"seed": True}, "Cell.seed"),
        ({"seconds": "1"}, "Cell.seconds"),
        ({"seconds": 2**53 + 1}, "Cell.seconds"),
        ({"scores": [hard]}, "Cell.scores"),
        ({"scores": (hard, None)}, "Cell.scores\\[1\\]"),
        ({"scores": (replace(hard, value="1"),)}, "Cell.scores\\[0\\].value"),  # type: ignore[arg-type]
        ({"claim": Score}, "Cell.claim"),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(change, place):
    with pytest.raises(TypeError, match=f"^{place} is "):
        encode(replace(Cell(KEY, "ok"), **change))


@pytest.mark.parametrize("key", ["", "..", "a/b", "../a", "A", ".hidden", "a" * 129, "a\n", "a.json"])
def test_a_key_that_is_no_plain_name_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="a key must match"):
        Store(tmp_path).write(Cell(key, "ok"))
    assert not list(tmp_path.rglob("*"))


def foreign(document: object) -> bytes:
    return checksummed(json.dumps(document).encode())


NEWER = foreign({"format": "seethrough cell", "schema": SCHEMA + 1, "content": {"key": KEY}})
FOREIGN = [
    NEWER,
    foreign({"format": "other", "schema": 5}),
    foreign([1]),
    checksummed(b"no json"),
    checksummed(b"[" * 10**6),
]


@pytest.mark.parametrize("data", FOREIGN, ids=["newer", "other", "list", "text", "deep"])
def test_a_whole_file_of_another_kind_is_refused_and_kept(tmp_path, data):
    store, place = Store(tmp_path), places(1)[0]
    store.write(cell_of(KEY))
    store.path(KEY).write_bytes(data)
    for use in (lambda: store.read(KEY), lambda: store.write(cell_of(KEY)), lambda: pending([place], store)):
        with pytest.raises(SchemaMismatchError, match=f"{KEY}.json"):
            use()
    assert store.path(KEY).read_bytes() == data
    assert not (tmp_path / "damaged").exists()


def test_a_manifest_in_the_place_of_a_cell_is_foreign(tmp_path):
    store = Store(tmp_path)
    store.write(cell_of(KEY))
    store.path(KEY).write_bytes(encode(manifest_of(places(3))))
    with pytest.raises(SchemaMismatchError, match="seethrough manifest"):
        store.read(KEY)


def test_a_damaged_manifest_is_named_and_a_new_one_moves_it_aside(tmp_path):
    store, manifest = Store(tmp_path), manifest_of(places(3))
    with pytest.raises(FileNotFoundError):
        store.read_manifest()
    store.write_manifest(manifest)
    assert store.read_manifest() == manifest
    (tmp_path / "manifest.json").write_bytes(b"torn")
    with pytest.raises(DamagedFileError, match=r"manifest\.json is damaged"):
        store.read_manifest()
    store.write_manifest(manifest)
    assert store.read_manifest() == manifest
    assert (tmp_path / "damaged" / "manifest.json.1").read_bytes() == b"torn"


def test_pending_names_each_missing_key_once_and_failed_ones_on_request(tmp_path):
    store, grid = Store(tmp_path), places(4)
    store.write(Cell("k000", "ok"))
    store.write(Cell("k001", "failed", "broke"))
    store.write(Cell("k002", "n/a", "impossible"))
    assert pending([*grid, *grid], store).todo == grid[3:]
    assert pending(grid, store, retry_failed=True).todo == (grid[1], grid[3])
    assert store.cell_keys() == ("k000", "k001", "k002")


def test_a_run_removes_the_temporary_files_of_dead_writers_and_nothing_else(tmp_path):
    store = Store(tmp_path)
    store.write(cell_of(KEY))
    (tmp_path / "generators").mkdir()
    written = ("cells/.k1.json", ".manifest.json", ".results.csv", ".index.html", "generators/.a1.png")
    ours = [tmp_path / f"{name}.99-{'a0' * 8}.tmp" for name in written]
    theirs = [tmp_path / name for name in ("cells/.notes.tmp", "cells/k1.tmp", ".other.json.9-abc.tmp", "x.tmp")]
    for path in (*ours, *theirs):
        path.write_text("")
    with store.lock():
        assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in theirs)
    assert store.read(KEY) is not None


class Torn(io.BufferedWriter):
    """A file that can fail when half of the data is written."""

    count = staticmethod(lambda name: None)

    def write(self, data) -> int:
        super().write(data[: len(data) // 2])
        super().flush()
        self.count("write")
        return super().write(data[len(data) // 2 :])


def with_fault(monkeypatch, fatal: int) -> list[str]:
    """Let the `fatal`-th operation of a write fail; returns the operations as they come."""
    calls = []

    def count(name):
        calls.append(name)
        if len(calls) == fatal:
            raise OSError(errno.ENOSPC, "No space left on device")

    def counted(name):
        def call(*arguments):
            count(name)
            return getattr(os, name)(*arguments)

        return call

    class Counted(Torn):
        pass

    Counted.count = staticmethod(count)
    changed = {name: counted(name) for name in ("open", "fsync", "replace")}
    monkeypatch.setattr(files, "os", SimpleNamespace(**{**vars(os), **changed}))
    monkeypatch.setattr(files, "open", lambda file, mode: Counted(io.FileIO(file, mode)), raising=False)
    return calls


def test_whichever_operation_fails_a_write_leaves_the_old_file_or_the_new_and_nothing_else(tmp_path, monkeypatch):
    store, old, new = Store(tmp_path), cell_of(KEY), replace(cell_of(KEY), note="new")
    store.write(old)
    fatal, ended = 0, False
    while not ended:
        fatal += 1
        with monkeypatch.context() as patch:
            calls = with_fault(patch, fatal)
            try:
                store.write(new)
                ended = True
            except OSError as error:
                assert error.errno == errno.ENOSPC
        named = "replace" in calls[: fatal - 1]
        assert repr(store.read(KEY)) == repr(new if named else old)
        assert [path.name for path in (tmp_path / "cells").iterdir()] == [f"{KEY}.json"]
        write_bytes_atomically(store.path(KEY), encode(old))
    assert fatal == 7
    assert calls == ["open", "write", "fsync", "replace", "open", "fsync"]  # the data, then the name, both on disk


def test_text_is_written_as_utf_8(tmp_path):
    write_text_atomically(tmp_path / "a.txt", "ε\n")
    assert (tmp_path / "a.txt").read_bytes() == "ε\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_sealed_bytes_from_elsewhere_are_kept_if_they_are_whole_and_that_cell(tmp_path):
    store, data = Store(tmp_path), encode(cell_of(KEY))
    store.write_sealed(KEY, data, "worker 3")
    assert store.path(KEY).read_bytes() == data
    for key, sent, said in (
        ("k001", data, f"worker 3 is damaged: it holds the cell '{KEY}'"),
        (KEY, data[:-1], "worker 3 is damaged: its content does not match its SHA-256"),
    ):
        with pytest.raises(DamagedFileError, match=f"^{re.escape(said)}$"):
            store.write_sealed(key, sent, "worker 3")
    with pytest.raises(SchemaMismatchError, match=r"^worker 3 "):
        store.write_sealed(KEY, NEWER, "worker 3")
    assert store.cell_keys() == (KEY,) and store.path(KEY).read_bytes() == data


def test_keys_are_those_of_files_named_like_cells_and_other_files_are_strange(tmp_path):
    store = Store(tmp_path)
    assert (store.cell_keys(), store.strange_files()) == ((), ())
    for key in ("k002", "k000", "k001"):
        store.write(cell_of(key))
    cells = tmp_path / "cells"
    for name in ("notes.txt", "A.json", "a b.json", ".k003.json", "k004.json.bak", "k005", "k006.JSON"):
        (cells / name).write_text("")
    (cells / "k007.json").write_text("damaged")
    assert store.cell_keys() == ("k000", "k001", "k002", "k007")
    strange = ("A.json", "a b.json", "k004.json.bak", "k005", "k006.JSON", "notes.txt")
    assert store.strange_files() == tuple(cells / name for name in strange)


def test_what_is_set_aside_never_takes_the_place_of_what_was(tmp_path):
    store = Store(tmp_path)
    for number in (1, 2, 3):
        store.write(cell_of(KEY))
        assert store.set_aside(KEY) == tmp_path / "damaged" / f"{KEY}.json.{number}"
        assert not store.path(KEY).exists()
    (tmp_path / "damaged" / f"{KEY}.json.4").symlink_to("nowhere")  # which exists for a rename, though not for `exists`
    store.write(cell_of(KEY))
    assert store.set_aside(KEY).name == f"{KEY}.json.5"


def test_what_is_set_aside_is_on_the_disk_under_both_names(tmp_path, monkeypatch):
    store, synced = Store(tmp_path), []
    store.write(cell_of(KEY))
    monkeypatch.setattr(stored, "sync_directory", synced.append)
    store.set_aside(KEY)
    assert synced == [tmp_path / "damaged", tmp_path / "cells"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_folder_is_cleared_before_and_after_and_held_between(tmp_path, fails):
    store, left = Store(tmp_path / "run"), f".k1.json.99-{'a0' * 8}.tmp"

    def leave() -> Path:
        path = tmp_path / "run" / "cells" / left
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        return path

    before = leave()
    with contextlib.suppress(ZeroDivisionError), store.lock():
        assert not before.exists()
        with pytest.raises(FolderInUseError), store.lock():
            pass
        after = leave()
        if fails:
            raise ZeroDivisionError
    assert not after.exists()
    with store.lock():
        assert (tmp_path / "run" / ".lock").exists()


def test_a_file_in_the_place_of_the_cells_folder_holds_no_cell(tmp_path):
    (tmp_path / "cells").write_text("")
    assert Store(tmp_path).read(KEY) is None


def test_a_manifest_that_plans_what_is_no_key_is_damaged(tmp_path):
    store, plan = Store(tmp_path), manifest_of(places(2))
    odd = replace(plan.places[0], key="../up")
    for changed in (replace(plan, places=(plan.places[0], odd)), replace(plan, trainings=(odd,))):
        store.write_manifest(changed)
        said = f"{tmp_path / 'manifest.json'} is damaged: it plans a cell of the key '../up'"
        with pytest.raises(DamagedFileError, match=f"^{re.escape(said)}$"):
            store.read_manifest()


def test_failed_cells_are_counted_once_and_finished_unless_they_are_to_be_computed_again(tmp_path):
    store, grid = Store(tmp_path), places(3)
    for key in ("k000", "k001"):
        store.write(Cell(key, "failed", "broke"))
    store.path("k002").write_text("damaged")
    left = pending([*grid, *grid], store)
    assert (left.todo, left.failed, len(left.damaged)) == ((grid[2],), 2, 1)
    assert pending(grid, store, retry_failed=True) == Pending(grid, (), 0)


def test_a_key_that_is_none_is_named_with_what_is_allowed(tmp_path):
    said = "a key must match [a-z0-9][a-z0-9_-]{0,127}, found 'A/b'"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        Store(tmp_path).path("A/b")
    assert Store(tmp_path).path("a" * 128) == tmp_path / "cells" / f"{'a' * 128}.json"
    store = Store(tmp_path)
    store.write(cell_of(KEY))
    os.rename(store.path(KEY), store.path("k001"))
    said = f"{store.path('k001')} is damaged: it holds the cell '{KEY}'"
    with pytest.raises(DamagedFileError, match=f"^{re.escape(said)}$"):
        store.read("k001")


def test_a_file_may_take_so_many_bytes_and_no_more(tmp_path, monkeypatch):
    store, data = Store(tmp_path), encode(cell_of(KEY))
    monkeypatch.setattr(checking, "MAX_FILE_BYTES", len(data))
    store.write(cell_of(KEY))
    assert store.read(KEY) is not None
    monkeypatch.setattr(checking, "MAX_FILE_BYTES", len(data) - 1)
    said = f"a Cell takes {len(data)} bytes, allowed are {len(data) - 1}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        encode(cell_of(KEY))
    said = f"{store.path(KEY)} is damaged: it is no regular file of at most {len(data) - 1} bytes"
    with pytest.raises(DamagedFileError, match=f"^{re.escape(said)}$"):
        store.read(KEY)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"format": "other", "schema": 5}',
            f"has format and schema ('other', 5), allowed are ('seethrough cell', {SCHEMA}): read it with the version of "
            "seethrough that wrote it, or make the audit anew in another folder",
        ),
        (b"[]", "is whole but holds no JSON object"),
        (b"{", "is whole but holds no strict JSON: "),
        (b'{"format": NaN}', "is whole but holds no strict JSON: NaN is no JSON"),
    ],
)
def test_what_is_whole_but_no_cell_is_named_with_what_it_is(tmp_path, body, said):
    store = Store(tmp_path)
    store.write(cell_of(KEY))
    store.path(KEY).write_bytes(checksummed(body))
    with pytest.raises(SchemaMismatchError) as raised:
        store.read(KEY)
    assert str(raised.value).startswith(f"{store.path(KEY)} {said}")
    assert said.endswith(": ") or str(raised.value).endswith(said)


def test_content_that_is_no_record_is_damaged_and_named_by_its_place(tmp_path):
    store = Store(tmp_path)
    store.write(cell_of(KEY))
    store.path(KEY).write_bytes(foreign({"format": "seethrough cell", "schema": SCHEMA}))
    with pytest.raises(DamagedFileError, match=f"^{re.escape(str(store.path(KEY)))} is damaged: Cell is "):
        store.read(KEY)


def test_a_cell_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write(cell_of(KEY))

    def broken(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(OSError, match=f"{KEY}.json"):
        store.read(KEY)
