"""The files of a run do not depend on how many workers computed them, in which order, or how they were started."""

import hashlib
import os
import random
from dataclasses import dataclass

import pytest
import torch
from threadpoolctl import threadpool_info

from seethrough.audit.cells.runner import run_cells
from seethrough.audit.cells.store import Store
from seethrough.common.processes import StartMethod
from seethrough.reports.row import Cell, Place, Score
from tests.reliability.toys import ignore, places, table


@dataclass(frozen=True)
class Sums:
    """Floating-point sums whose last bits depend on the number of threads."""

    size: int = 300

    def __call__(self, place: Place) -> Cell:
        seed = int.from_bytes(hashlib.sha256(place.key.encode()).digest()[:6], "big")
        matrix = torch.randn((self.size, self.size), generator=torch.Generator().manual_seed(seed))
        value = float((matrix @ matrix).sum())
        return Cell(place.key, "ok", scores=(Score("sum", "higher", "ok", value=value, n=1),))


def computed(folder, grid, workers: int, start_method: StartMethod) -> dict[str, bytes]:
    store = Store(folder)
    run_cells(grid, Sums(), store, workers, 1, ignore, start_method=start_method)
    return table(store)


def test_cell_files_are_equal_for_any_number_of_workers_order_and_start(tmp_path):
    grid = list(places(12))
    reference = computed(tmp_path / "reference", grid, 1, "forkserver")
    assert len(set(reference.values())) == 12
    for number in range(4):
        random.Random(number).shuffle(grid)
        assert computed(tmp_path / str(number), grid, 1 + number % 2, "forkserver") == reference
    assert computed(tmp_path / "spawned", grid, 2, "spawn") == reference
    first = tmp_path / "in two parts"
    computed(first, grid[:5], 2, "forkserver")
    assert computed(first, grid[5:], 1, "forkserver") == reference


def tell_threads(place: Place) -> Cell:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOLD_SINCE")
    loaded = sorted({library["num_threads"] for library in threadpool_info()})
    return Cell(place.key, "ok", f"{torch.get_num_threads()} {loaded} {[os.environ.get(name) for name in names]}")


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_a_worker_has_its_threads_and_the_present_environment_which_stays_as_it_was(
    tmp_path, monkeypatch, start_method: StartMethod
):
    """Also when it is forked from a server that was started before, in another environment."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for told, threads in enumerate((1, 2)):
        monkeypatch.setenv("TOLD_SINCE", str(told))
        run_cells(places(1), tell_threads, Store(tmp_path / str(told)), 1, threads, ignore, start_method=start_method)
        expected = f"{threads} [{threads}] {[str(threads)] * 3 + [str(told)]}"
        assert Store(tmp_path / str(told)).read("k000").note == expected
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "MKL_NUM_THREADS" not in os.environ and "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fixed_number_of_threads_gives_the_same_files_again(tmp_path, threads):
    stores = [Store(tmp_path / name) for name in ("a", "b")]
    for store in stores:
        run_cells(places(4), Sums(), store, 2, threads, ignore, start_method="forkserver")
    assert table(stores[0]) == table(stores[1])
