"""The files of a run do not depend on how many workers computed them, in which order, or how they were started."""

import hashlib
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
    first = tmp_path / "in two parts"
    computed(first, grid[:5], 2, "forkserver")
    assert computed(first, grid[5:], 1, "forkserver") == reference


def test_clocks_that_jump_and_files_of_other_years_change_nothing(experiment, measured):
    jumps = experiment("clocks.jumps")
    measured(1, f"beside files of 1970 and 2100, nothing computed again; a clock that jumps was asked {jumps} times")


@pytest.mark.slow
def test_cell_files_are_equal_for_workers_that_were_started_in_another_way(tmp_path):
    grid = list(places(6))
    assert computed(tmp_path / "a", grid, 2, "spawn") == computed(tmp_path / "b", grid, 1, "forkserver")


def tell_threads(place: Place) -> Cell:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOLD_SINCE")
    loaded = sorted({library["num_threads"] for library in threadpool_info()})
    return Cell(place.key, "ok", f"{torch.get_num_threads()} {loaded} {[os.environ.get(name) for name in names]}")


@pytest.mark.parametrize("start_method", [pytest.param("spawn", marks=pytest.mark.slow), "forkserver"])
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


SPEC = """
name: determinism
trials: {trials}
settings:
  - {{name: digits, data: digits, model: lenet, batch_size: 2, labels: unique}}
threats:
  - {{name: curious, grants: [count, recipe]}}
defenses: [none, {{gaussian_noise: {{std: 0.1}}}}]
attacks: [label_minimum, {{inverting_gradients: {{steps: 3}}}}]
metrics: [label_accuracy, psnr]
"""

VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    **{f"{workers} workers": (("--workers", str(workers)), {}) for workers in (1, 2, 4)},
    **{f"hash seed {seed}": ((), {"PYTHONHASHSEED": str(seed)}) for seed in (0, 1, 12345)},
    **{f"time zone {zone}": ((), {"TZ": zone}) for zone in ("Asia/Tokyo", "America/Caracas")},
    **{f"locale {locale}": ((), {"LC_ALL": locale, "LANG": locale}) for locale in ("C", "C.UTF-8", "tr_TR.UTF-8")},
    **{f"{threads} threads in the environment": ((), {"OMP_NUM_THREADS": str(threads)}) for threads in (2, 4)},
    "other threads of MKL": ((), {"MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "3"}),
    "optimized Python": ((), {"PYTHONOPTIMIZE": "1"}),
    "debugged memory": ((), {"PYTHONMALLOC": "debug"}),
    "columns and colors": ((), {"COLUMNS": "40", "FORCE_COLOR": "1"}),
}


def audited(
    folder: Path, name: str, trials: int, arguments: tuple[str, ...] = (), **environment: str
) -> dict[str, bytes]:
    """The cells of the real command, as a user of another folder and another environment types it."""
    place = folder / name.replace(" ", "-").replace("/", "-")
    place.mkdir(exist_ok=True)
    (place / "spec.yaml").write_text(SPEC.format(trials=trials))
    command = [
        sys.executable,
        "-c",
        "from seethrough.audit.cli import main; main()",
        "run",
        "spec.yaml",
        "--out",
        "out",
    ]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    done = subprocess.run([*command, *arguments], cwd=place, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return table(Store(place / "out"))


@pytest.mark.slow
def test_an_audits_cells_are_equal_in_every_environment_and_after_every_interruption(tmp_path, measured):
    reference = audited(tmp_path, "reference", 2)
    assert len(reference) == 8
    for name, (arguments, environment) in VARIANTS.items():
        assert audited(tmp_path, name, 2, arguments, **environment) == reference, name
    assert audited(tmp_path, "in two parts", 1).items() < reference.items()
    assert audited(tmp_path, "in two parts", 2) == reference
    kept = Store(tmp_path / "reference" / "out")
    for number, share in enumerate((slice(0, 8, 2), slice(3, 8))):  # other workers meet other cells
        for key in kept.cell_keys()[share]:
            kept.path(key).unlink()
        assert audited(tmp_path, "reference", 2, ("--workers", str(2 - number))) == reference
    measured(len(VARIANTS) + 3, f"{len(VARIANTS)} environments, and 3 runs that went on, byte for byte")
