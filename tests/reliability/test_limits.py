"""Cells that hang, eat memory or kill their workers, and the run that ends them and goes on."""

import math
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from seethrough.audit.cells import pace, runner, worker_pool
from seethrough.audit.cells.limits import NO_LIMITS, Limits, limits_from
from seethrough.audit.cells.pace import Pace
from seethrough.audit.cells.progress import alarming
from seethrough.audit.cells.runner import Finished, Noticed, RunError, run_cells
from seethrough.audit.cells.store import Store
from seethrough.audit.cells.worker_process import Held, WorkerProcess
from seethrough.common.errors import InputError
from seethrough.reports.row import Cell, Place
from tests.reliability.toys import Toy, cell_of, note, noted, places, table


def wait_for_ever() -> None:
    threading.Event().wait()


def stop_oneself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Bad:
    """A cell at place 1 that does something bad, at the first so many tries; sound cells elsewhere. Logs each try."""

    log: str
    act: Callable[[], None]
    times: int = 1000

    def __call__(self, place: Place) -> Cell:
        note(self.log, place.key)
        if place.trial == 1 and noted(self.log).count(place.key) <= self.times:
            self.act()
        return cell_of(place.key)


def ran(folder: Path, act: Callable[[], None], limits: Limits, times: int = 1000, workers: int = 1) -> tuple:
    """The store, the log and the events of a run of five cells, of which the second is bad."""
    store, log, events = Store(folder / "out"), str(folder / "log"), []
    run_cells(
        places(5), Bad(log, act, times), store, workers, 1, events.append, start_method="forkserver", limits=limits
    )
    return store, noted(log), events


SOUND = ["k000", "k002", "k003", "k004"]


@pytest.mark.parametrize("act", [wait_for_ever, stop_oneself])
def test_a_cell_that_hangs_is_ended_and_failed_and_the_others_are_computed(tmp_path, act):
    store, log, events = ran(tmp_path, act, Limits(seconds=4), workers=2)
    cell = store.read("k001")
    assert cell.status == "failed" and cell.seconds >= 2
    assert cell.note == "ran longer than 4 s, the limit for a cell, and was ended"
    assert [store.read(key).status for key in SOUND] == ["ok"] * 4
    assert sorted(log) == ["k000", "k001", "k002", "k003", "k004"]
    told = [alarming(event) for event in events if alarming(event)]
    assert told == [f"failed: attack against defense, trial 1: {cell.note}"]


HELD: list[mmap.mmap] = []


GIGABYTE = Limits(memory=1e9)  # twice of what a worker takes at rest


def take_memory() -> None:
    """Hold more than a gigabyte that is really there, and never let go."""
    HELD.append(mmap.mmap(-1, int(1.1e9)))
    for page in range(0, len(HELD[-1]), mmap.PAGESIZE):
        HELD[-1][page] = 1
    wait_for_ever()


def test_a_cell_that_takes_too_much_memory_is_ended_and_failed(tmp_path):
    store, log, _ = ran(tmp_path, take_memory, GIGABYTE)
    assert store.read("k001").status == "failed"
    assert store.read("k001").note == "needed more than 1 GB of memory, the limit for a worker, and was ended"
    assert [store.read(key).status for key in SOUND] == ["ok"] * 4
    assert log.count("k001") == 2, "its worker had computed another: that one's memory was not to be laid to its charge"
    assert log[-1] == "k001", "the others come first"


def test_memory_that_earlier_cells_left_is_not_laid_to_a_cells_charge(tmp_path):
    store, log, events = ran(tmp_path, take_memory, GIGABYTE, times=1)
    assert store.read("k001").status == "ok" and log.count("k001") == 2
    assert [event.words for event in events if isinstance(event, Noticed)] == [
        f"{GIGABYTE.too_much}; it is tried again"
    ]


def test_a_limit_that_no_worker_can_keep_ends_the_run_with_a_sentence(tmp_path):
    with pytest.raises(RunError, match=r"found 0.001 GB; allowed: more than the .* GB that a worker takes before"):
        ran(tmp_path, be_killed, Limits(memory=1e6))


@pytest.mark.parametrize(("times", "tries", "status", "attempts"), [(1, 2, "ok", 2), (9, 3, "failed", 3)])
def test_a_cell_that_kills_its_worker_is_tried_as_often_as_asked(tmp_path, times, tries, status, attempts):
    store, log, events = ran(tmp_path, be_killed, Limits(tries=tries), times)
    cell = store.read("k001")
    assert cell.status == status and log.count("k001") == attempts
    again = [event for event in events if isinstance(event, Noticed)]
    assert len(again) == attempts - 1
    assert alarming(again[0]) == (
        "attack against defense, trial 1: the process that computed it was killed by signal 9 (Killed); it is tried again"
    )
    if status == "failed":
        assert cell.note == "the process that computed it was killed by signal 9 (Killed); so ended 3 tries"
    assert [store.read(key).status for key in SOUND] == ["ok"] * 4


@dataclass(frozen=True)
class Late:
    """The first try at place 1 kills its worker once the other place is done, and its worker waits."""

    log: str

    def __call__(self, place: Place) -> Cell:
        note(self.log, place.key)
        if place.trial == 1 and noted(self.log).count(place.key) == 1:
            while "k000" not in noted(self.log):
                time.sleep(0.01)
            time.sleep(0.5)
            be_killed()
        return cell_of(place.key)


def test_a_cell_that_is_tried_again_when_all_other_workers_wait_is_handed_to_one_of_them(tmp_path):
    """It was seen to hang where a worker was handed a place only right after its answer."""
    store, log = Store(tmp_path / "out"), str(tmp_path / "log")
    run_cells(places(2), Late(log), store, 2, 1, lambda event: None, start_method="forkserver", limits=Limits(tries=2))
    assert [store.read(key).status for key in ("k000", "k001")] == ["ok", "ok"] and noted(log).count("k001") == 2


def test_limits_that_no_cell_passes_change_no_byte_of_a_table(tmp_path):
    for name, limits in (("free", NO_LIMITS), ("limited", Limits(600, 1e12, 3))):
        run_cells(
            places(6),
            Toy(str(tmp_path / "log")),
            Store(tmp_path / name),
            2,
            1,
            lambda event: None,
            limits=limits,
            start_method="forkserver",
        )
    assert table(Store(tmp_path / "free")) == table(Store(tmp_path / "limited"))


def test_workers_that_die_in_a_row_are_replaced_after_ever_longer_pauses(monkeypatch):
    pool = worker_pool.WorkerPool(None, 1, None, NO_LIMITS)
    monkeypatch.setattr(worker_pool.time, "perf_counter", lambda: 100.0)
    pauses = []
    for _ in range(10):
        pool._pause_after_death()
        pauses.append(round(max(0.0, pool._pause_ends - 100), 3))
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


@pytest.mark.parametrize(("stopped", "ended"), [(0, False), (4, False), (100, False), (0, True)])
def test_time_in_which_the_run_itself_was_stopped_is_not_laid_to_a_cells_charge(monkeypatch, stopped, ended):
    clock = [1000.0]
    pool = worker_pool.WorkerPool(None, 1, None, Limits(seconds=60))
    worker = WorkerProcess(None, None, since=clock[0], ready=True, taken=1, held=Held(places(1)[0], clock[0]))
    pool._workers[0] = worker

    def wait(sources: list, seconds: float) -> list:
        clock[0] += seconds + stopped
        return []

    monkeypatch.setattr(worker_pool, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(worker_pool, "wait", wait)
    ran = 0.0
    while ran < (60 if ended else 55):
        ran += pool._next_moment() - clock[0]
        pool._wait([], pool._next_moment() - clock[0])
        if stopped == 4:
            break  # late, but not stopped: nothing is forgiven
    assert bool(pool._passed(worker)) == ended
    assert worker.held.since == 1000 + (0 if stopped < 5 else stopped * ran / 5)


def test_a_run_whose_every_cell_kills_its_worker_comes_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_pool, "LONGEST_PAUSE", 0.01)
    events = []
    run_cells(places(6), Killer(), Store(tmp_path), 2, 1, events.append, start_method="forkserver")
    assert [event.status for event in events if isinstance(event, Finished)] == ["failed"] * 6


@dataclass(frozen=True)
class Killer:
    def __call__(self, place: Place) -> Cell:
        be_killed()
        return cell_of(place.key)


@dataclass(frozen=True)
class Awaiting:
    """The cell at place 4 waits until a file is there."""

    file: Path

    def __call__(self, place: Place) -> Cell:
        while place.trial == 4 and not self.file.exists():
            time.sleep(0.01)
        return cell_of(place.key)


def test_a_cell_that_takes_much_longer_than_others_like_it_is_named_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "LEAST", 0.2)
    noticed, file = [], tmp_path / "noticed"

    def watch(event: runner.Event) -> None:
        if isinstance(event, Noticed):
            noticed.append(event)
            file.touch()

    run_cells(places(6), Awaiting(file), Store(tmp_path / "out"), 1, 1, watch, start_method="forkserver")
    named = [event for event in noticed if event.place.trial == 4]  # another may be slow on a busy machine
    assert len(named) == 1
    assert "; cells like it took " in alarming(named[0])


def test_a_cell_is_slow_beside_three_of_the_same_attack_and_setting_alone():
    here, elsewhere = Place("k", "s", "t", "d", "a", 0), Place("k", "other", "t", "d", "a", 0)
    known = Pace()
    for seconds in (30.0, 1.0, 20.0):
        assert known.slow_after(here) == math.inf
        known.add(here, seconds)
    assert (known.usual(here), known.slow_after(here), known.slow_after(elsewhere)) == (20.0, 100.0, math.inf)
    for _ in range(9):
        known.add(here, 0.1)
    assert known.slow_after(here) == 10.0


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (("90", "2GB", 1), (90, 2e9)),
        (("1.5h", "1.5 GiB", 2), (5400, 1610612736)),
        ((10, 100_000_000, 1), (10, 1e8)),
        ((None, None, 3), (math.inf, math.inf)),
    ],
)
def test_limits_are_read_as_a_user_writes_them(given, read):
    limits = limits_from(*given)
    assert (limits.seconds, limits.memory, limits.tries) == (*read, given[2])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("0", None, 1), r"cell_timeout: found '0'; allowed: a time above zero, such as 90, 10m or 2h\."),
        (("ten", None, 1), "cell_timeout: found 'ten'"),
        (("-5", None, 1), "cell_timeout: found '-5'"),
        (("9" * 400, None, 1), "cell_timeout: found"),
        (
            (None, "much", 1),
            "memory_limit: found 'much'; allowed: a size of at least 100MB, below which no worker starts",
        ),
        ((None, "0", 1), "memory_limit: found '0'"),
        ((None, "2", 1), r"memory_limit: found '2' \(bytes\); allowed: a size of at least 100MB"),
        ((None, 2, 1), r"memory_limit: found 2 \(bytes\); allowed: a size of at least 100MB"),
        ((None, "99MB", 1), "memory_limit: found '99MB'; allowed: a size of at least 100MB"),
        ((None, None, 0), "tries: found 0; allowed: a whole number of at least 1"),
    ],
)
def test_limits_that_cannot_be_read_are_refused_by_name(given, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        limits_from(*given)
