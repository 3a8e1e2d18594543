"""Workers that break in every way, and the run that goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from seethrough.audit.cells.runner import Finished, RunError, Started, run_cells
from seethrough.audit.cells.store import Store, pending
from seethrough.defenses import NotApplicableError
from seethrough.reports.row import Cell, Place, Score
from tests.reliability.toys import Toy, cell_of, ignore, note, noted, places


class UnspeakableError(Exception):
    """Its message cannot be had, and it cannot be pickled."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__()

    def __str__(self) -> str:
        raise ValueError("no message")


def refuse(place: Place) -> Cell:
    raise NotApplicableError("needs 2 clients, there is 1")


def raise_error(place: Place) -> Cell:
    raise ValueError("broken here")


def raise_unspeakable(place: Place) -> Cell:
    raise UnspeakableError(1, 2)


def raise_interrupt(place: Place) -> Cell:
    raise KeyboardInterrupt


def overflow(place: Place) -> Cell:
    return overflow(place)


def run_out_of_memory(place: Place) -> Cell:
    return Cell(place.key, "ok", str(len(bytearray(2**62))))


def call_exit(place: Place) -> Cell:
    sys.exit("leaving")


def exit_well(place: Place) -> Cell:
    os._exit(0)


def exit_badly(place: Place) -> Cell:
    os._exit(3)


def be_killed(place: Place) -> Cell:
    os.kill(os.getpid(), signal.SIGKILL)
    return cell_of(place.key)


def be_terminated(place: Place) -> Cell:
    os.kill(os.getpid(), signal.SIGTERM)
    return cell_of(place.key)


def fault(place: Place) -> Cell:
    os.kill(os.getpid(), signal.SIGSEGV)
    return cell_of(place.key)


def close_everything(place: Place) -> Cell:
    os.closerange(3, 1000)
    raise ValueError("with nothing to answer through")


def return_nothing(place: Place) -> Cell:
    return None  # type: ignore[return-value]


def return_another(place: Place) -> Cell:
    return cell_of("another")


def return_a_function(place: Place) -> Cell:
    return Cell(place.key, "ok", scores=(Score("psnr", "higher", "ok", value=lambda: 0),))  # type: ignore[arg-type]


BROKEN = {
    refuse: ("n/a", "needs 2 clients, there is 1"),
    raise_error: ("failed", "ValueError: broken here"),
    raise_unspeakable: ("failed", "UnspeakableError"),
    raise_interrupt: ("failed", "exit code 1"),
    overflow: ("failed", "RecursionError"),
    run_out_of_memory: ("failed", "MemoryError"),
    call_exit: ("failed", "exit code 1"),
    exit_well: ("failed", "exit code 0"),
    exit_badly: ("failed", "exit code 3"),
    be_killed: ("failed", "killed by signal 9"),
    be_terminated: ("failed", "killed by signal 15"),
    fault: ("failed", "killed by signal 11"),
    close_everything: ("failed", "exit code"),
    return_nothing: ("failed", "TypeError: the computation returned None, expected the Cell of k"),
    return_another: ("failed", "returned Cell\\(key='another'.*expected the Cell of k"),
    return_a_function: ("failed", r"value is of type function"),
}


@dataclass(frozen=True)
class Mixed:
    """Each of the broken functions once, at the odd places; sound cells at all others."""

    log: str

    def __call__(self, place: Place) -> Cell:
        note(self.log, place.key)
        odd = place.trial % 2 == 1 and place.trial // 2 < len(BROKEN)
        return list(BROKEN)[place.trial // 2](place) if odd else cell_of(place.key)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_breaks_loses_its_own_cell_and_no_other(tmp_path, workers):
    store, grid, log, events = Store(tmp_path), places(2 * len(BROKEN) + 4), str(tmp_path / "log"), []
    run_cells(grid, Mixed(log), store, workers, 1, events.append, 7, "revision", start_method="forkserver")
    assert sorted(noted(log)) == [place.key for place in grid]
    for place in grid:
        cell = store.read(place.key)
        if place.trial % 2 == 1 and place.trial // 2 < len(BROKEN):
            status, message = list(BROKEN.values())[place.trial // 2]
            assert (cell.status, cell.seed, cell.code) == (status, 7, "revision"), cell
            assert re.search(message, cell.note), cell.note
            assert cell.seconds > 0
        else:
            assert repr(replace(cell, seconds=0.5)) == repr(cell_of(place.key))
    started = [event.place for event in events if isinstance(event, Started)]
    finished = [event for event in events if isinstance(event, Finished)]
    assert sorted(place.key for place in started) == [place.key for place in grid]
    assert {event.place.key: (event.status, event.seconds) for event in finished} == {
        place.key: (store.read(place.key).status, store.read(place.key).seconds) for place in grid
    }
    assert not list(tmp_path.rglob("*.tmp"))


def be_interrupted(place: Place) -> Cell:
    os.kill(os.getpid(), signal.SIGINT)
    return cell_of(place.key)


def test_workers_leave_an_interrupt_to_the_run(tmp_path):
    run_cells(places(2), be_interrupted, Store(tmp_path), 1, 1, ignore, start_method="forkserver")
    assert [Store(tmp_path).read(key).status for key in ("k000", "k001")] == ["ok", "ok"]


def test_equal_keys_are_computed_once(tmp_path):
    log, grid = str(tmp_path / "log"), places(3)
    run_cells([*grid, *grid], Toy(log), Store(tmp_path), 2, 1, ignore, start_method="forkserver")
    assert sorted(noted(log)) == [place.key for place in grid]


@dataclass(frozen=True)
class DyingStore(Store):
    """A store whose process dies once it has written a cell."""

    def write(self, cell: Cell) -> None:
        super().write(cell)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_between_its_file_and_its_answer_has_done_its_work(tmp_path):
    grid, events = places(3), []
    run_cells(grid, Toy(str(tmp_path / "log")), DyingStore(tmp_path), 1, 1, events.append, start_method="forkserver")
    assert [event.status for event in events if isinstance(event, Finished)] == ["ok"] * 3
    assert pending(grid, Store(tmp_path)).todo == ()
    assert sorted(noted(str(tmp_path / "log"))) == [place.key for place in grid]


def fail_again(place: Place) -> Cell:
    raise ValueError("second attempt")


def test_a_failed_cell_that_is_tried_again_is_replaced(tmp_path):
    store, grid = Store(tmp_path), places(2)
    for place in grid:
        store.write(Cell(place.key, "failed", "first attempt"))
    run_cells(
        pending(grid[:1], store, retry_failed=True).todo, fail_again, store, 1, 1, ignore, start_method="forkserver"
    )
    assert "second attempt" in store.read(grid[0].key).note
    assert store.read(grid[1].key).note == "first attempt"


def explode() -> None:
    raise RuntimeError("cannot be unpickled")


class Explosive:
    """Breaks every worker as it starts."""

    def __reduce__(self) -> tuple:
        return explode, ()

    def __call__(self, place: Place) -> Cell:
        return cell_of(place.key)


def test_workers_that_cannot_start_end_the_run_with_a_sentence(tmp_path):
    with pytest.raises(RunError, match="3 workers in a row died before they took a cell; the last one ended with exit"):
        run_cells(places(4), Explosive(), Store(tmp_path), 2, 1, ignore, start_method="forkserver")
    assert Store(tmp_path).cell_keys() == ()


def test_cells_that_cannot_be_kept_end_the_run_with_a_sentence(tmp_path):
    (tmp_path / "cells").write_text("in the way")
    with pytest.raises(RunError, match=r"the cell k000 cannot be kept: .*cells: file exists\."):
        run_cells(places(4), Toy(str(tmp_path / "log")), Store(tmp_path), 1, 1, ignore, start_method="forkserver")


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (1, 0)])
def test_a_run_needs_a_worker_and_a_thread(tmp_path, workers, threads):
    with pytest.raises(ValueError, match="at least 1"):
        run_cells(places(1), Toy(str(tmp_path / "log")), Store(tmp_path), workers, threads, ignore)


def test_a_watcher_that_raises_ends_the_run_and_its_workers(tmp_path):
    def stop(event: object) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_cells(places(4), Toy(str(tmp_path / "log"), 60), Store(tmp_path), 2, 1, stop, start_method="forkserver")
    assert time.monotonic() - began < 30


SLOW_RUN = """
import sys
from pathlib import Path
from seethrough.audit.cells.store import Store
from tests.reliability.toys import Toy, places, run

if __name__ == "__main__":
    run(Store(Path(sys.argv[1])), places(8), Toy(sys.argv[2], 60), 2, sys.argv[3])
"""


@pytest.mark.parametrize(
    ("number", "start_method"),
    [
        pytest.param(signal.SIGINT, "spawn", marks=pytest.mark.slow),  # also in `test_signals.py`, for forked workers
        pytest.param(signal.SIGTERM, "fork", marks=pytest.mark.slow),
        (signal.SIGKILL, "fork"),
    ],
)
def test_a_signal_to_the_run_ends_all_its_workers(tmp_path, number, start_method):
    script, out, log = tmp_path / "slow_run.py", tmp_path / "out", str(tmp_path / "log")
    script.write_text(SLOW_RUN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(out), log, start_method]
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    wait_until(lambda: len(noted(log)) == 2 or process.poll() is not None, 120)
    assert process.poll() is None, process.stderr.read()
    if number == signal.SIGINT:  # as the terminal sends it: to everybody in the group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    errors = process.communicate(timeout=120)[1]
    wait_until(lambda: not group_lives(process.pid), 60)
    assert process.returncode == -number
    assert errors.count("Traceback") == (1 if number == signal.SIGINT else 0), errors
    with Store(out).lock():
        assert Store(out).cell_keys() == ()
        assert not list(Path(out).rglob("*.tmp"))


def wait_until(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def run_out(place: Place) -> Cell:
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried 7 bytes"
    )


def test_a_cell_that_needs_more_memory_than_there_is_says_so_in_a_sentence(tmp_path):
    store, grid = Store(tmp_path), places(1)
    run_cells(grid, run_out, store, 1, 1, lambda event: None, 7, "revision", start_method="forkserver")
    cell = store.read(grid[0].key)
    assert cell.status == "failed" and cell.note.startswith("memory ran out, with one restart at a time (")
    assert "fewer --workers" in cell.note and "Traceback" not in cell.note
