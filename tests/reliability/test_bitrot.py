"""Every single-bit flip and every truncation of a file of the store is found, named and moved aside.

It was seen to fail without the comparison of the hash: other numbers were then read in silence.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from seethrough.audit.cells.store import DamagedFileError, Store, encode, pending
from seethrough.reports.row import Cell, Place
from tests.reliability.toys import cell_of, checksummed, manifest_of, places

KEY = "k000"
PLACE = Place(KEY, "s", "t", "d", "a", 0)


def spoiled(path: Path) -> Iterator[None]:
    """The file in every state that one flipped bit, or a truncation, gives it; in place, since that is fast."""
    data = path.read_bytes()
    descriptor = os.open(path, os.O_RDWR)
    for position, byte in enumerate(data):
        for bit in range(8):
            os.pwrite(descriptor, bytes([byte ^ 1 << bit]), position)
            yield
        os.pwrite(descriptor, bytes([byte]), position)
    assert path.read_bytes() == data
    for length in reversed(range(len(data))):
        os.ftruncate(descriptor, length)
        yield
    os.close(descriptor)


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    store.write(cell_of(KEY))
    return store


def test_every_flipped_bit_and_every_truncation_is_found(store, measured):
    for cell in (Cell("failed", "failed", "Traceback"), Cell("refused", "n/a", "needs 2 clients")):
        store.write(cell)
    store.write_manifest(manifest_of(places(3)))
    keys, count, size = store.cell_keys(), 0, 0
    ways = [(store.path(key), partial(store.read, key)) for key in keys]
    for path, read in [*ways, (store.directory / "manifest.json", store.read_manifest)]:
        size += path.stat().st_size
        for _ in spoiled(path):
            with pytest.raises(DamagedFileError, match=f"{path.name} is damaged"):
                read()
            count += 1
    assert count == 9 * size >= 20_000
    measured(count, f"all of {count} variants of {len(ways)} cells and the manifest found")


def test_bytes_added_at_the_end_and_a_swapped_byte_pair_are_found(store):
    path = store.path(KEY)
    data = path.read_bytes()
    for variant in (data + b"\n", data + data, data[:100] + data[101:102] + data[100:101] + data[102:], data.upper()):
        assert variant != data
        path.write_bytes(variant)
        with pytest.raises(DamagedFileError):
            store.read(KEY)


def test_damaged_cells_are_named_moved_aside_and_computed_again(store):
    path = store.path(KEY)
    data = path.read_bytes()
    flipped, cut = data[:-1] + b"!", data[:-20]
    for number, variant in enumerate((flipped, cut, b""), start=1):
        path.write_bytes(variant)
        left = pending([PLACE], store)
        aside = store.directory / "damaged" / f"{KEY}.json.{number}"
        assert left.todo == (PLACE,)
        assert left.damaged == (f"{path} is damaged: its content does not match its SHA-256; moved to {aside}",)
        assert aside.read_bytes() == variant
        assert not path.exists()
    store.write(cell_of(KEY))
    assert pending([PLACE], store).todo == ()


def test_a_cell_under_another_cells_name_is_damaged(store):
    Path(store.path(KEY)).rename(store.path("other"))
    with pytest.raises(DamagedFileError, match="holds the cell 'k000'"):
        store.read("other")


def test_what_is_no_file_is_damaged(store):
    store.path("folder").mkdir()
    store.path("link").symlink_to("nowhere")
    for key in ("folder", "link"):
        with pytest.raises(DamagedFileError, match="no regular file"):
            store.read(key)
        assert store.set_aside(key).name == f"{key}.json.1"
        assert store.read(key) is None


def test_a_write_over_a_damaged_file_keeps_it_aside(store):
    store.path(KEY).write_bytes(b"damaged")
    store.write(Cell(KEY, "ok"))
    assert (store.directory / "damaged" / f"{KEY}.json.1").read_bytes() == b"damaged"
    assert store.read(KEY) == Cell(KEY, "ok")


def test_a_whole_file_that_describes_no_cell_is_damaged(store):
    wrong = (
        encode(replace(cell_of(KEY), note="")).partition(b"\n")[2].replace(b'"status": "ok"', b'"status": "fine"', 1)
    )
    store.path(KEY).write_bytes(checksummed(wrong))
    with pytest.raises(DamagedFileError, match=r"Cell\.status is 'fine'"):
        store.read(KEY)
