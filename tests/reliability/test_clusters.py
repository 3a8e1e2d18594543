"""Cells on a Dask cluster: the same bytes, limits and sentences as by processes of this machine, whatever is killed.

It was seen to fail where a worker whose process had ended was never handed a place again, and where a cell was called slow
because its process took long to start.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from distributed import Client

from seethrough.audit.cells.checksummed import DamagedFileError
from seethrough.audit.cells.cluster import start
from seethrough.audit.cells.cluster.connection import local_cluster
from seethrough.audit.cells.cluster.order import Greeting, Order, described, difference, read, written
from seethrough.audit.cells.cluster.pool import DaskPool
from seethrough.audit.cells.job import Job
from seethrough.audit.cells.limits import NO_LIMITS, Limits
from seethrough.audit.cells.runner import Event, Finished, Noticed, RunError, run_in
from seethrough.audit.cells.store import Store, encode
from seethrough.audit.device import device_for
from seethrough.audit.revision import code_revision
from seethrough.common.errors import InputError
from seethrough.reports.row import Cell, Place
from tests.reliability.sites import campaign
from tests.reliability.toys import Toy, cell_of, note, noted, places, table

GRID = places(6)


@dataclass(frozen=True)
class Bad:
    """A cell at place 1 that hangs, or kills its process, at the first so many tries; sound cells elsewhere."""

    log: str
    act: str
    times: int = 1000

    def __call__(self, place: Place) -> Cell:
        note(self.log, place.key)
        if place.trial == 1 and noted(self.log).count(place.key) <= self.times:
            threading.Event().wait() if self.act == "hang" else os.kill(os.getpid(), signal.SIGKILL)
        return cell_of(place.key)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Two workers, each a process, for all tests of this module."""
    with local_cluster(2, 1, []) as client:
        yield client


@pytest.fixture(autouse=True)
def _one_cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools use the cluster that is there."""

    class There:
        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> Client:
            return request.getfixturevalue("cluster")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(start, "local_cluster", There)


def ran(folder: Path, compute: object, limits: Limits = NO_LIMITS, shares: bool = True, workers: int = 2) -> tuple:
    """The store, the events, and what was told of a run."""
    store, events, told = Store(folder / "out"), [], []
    store.directory.mkdir(parents=True)
    job = Job(compute, store, 1, 7, code_revision())  # type: ignore[arg-type]
    with start.cluster_pool("", job, workers, device_for("cpu"), limits, told.append) as (pool, _):
        if not shares:
            pool._order = replace(pool._order, mark="not there")
        run_in(pool, GRID, job, events.append, limits)
    return store, events, told


REFERENCE = {place.key: encode(replace(cell_of(place.key), seconds=0.0)) for place in GRID}


@pytest.mark.parametrize("shares", [True, False])
def test_a_cluster_leaves_the_same_bytes_whether_it_shares_the_folder_or_sends_cells(tmp_path, shares):
    store, events, told = ran(tmp_path, Toy(str(tmp_path / "log")), shares=shares)
    assert table(store) == REFERENCE and not told
    assert sorted(noted(str(tmp_path / "log"))) == [place.key for place in GRID]
    assert [event.status for event in events if isinstance(event, Finished)] == ["ok"] * len(GRID)
    assert [path.name for path in store.directory.iterdir()] == ["cells"], "a mark or a temporary file was left"


def alarms(events: list[Event]) -> list[str]:
    return [event.words for event in events if isinstance(event, Noticed)]


def test_a_cell_that_hangs_is_ended_on_its_worker_which_goes_on(tmp_path):
    store, events, _ = ran(tmp_path, Bad(str(tmp_path / "log"), "hang"), Limits(seconds=4), workers=1)
    assert store.read("k001").note == "ran longer than 4 s, the limit for a cell, and was ended"
    assert (store.read("k001").seed, store.read("k001").code) == (7, code_revision())
    assert [store.read(place.key).status for place in GRID] == ["ok", "failed", *["ok"] * 4] and not alarms(events)


@pytest.mark.parametrize(("times", "tries", "status"), [(1, 2, "ok"), (9, 2, "failed")])
def test_a_cell_that_kills_its_process_is_tried_as_often_as_asked(tmp_path, times, tries, status):
    store, events, _ = ran(tmp_path, Bad(str(tmp_path / "log"), "die", times), Limits(tries=tries), workers=1)
    died = "the process that computed it was killed by signal 9 (Killed)"
    assert store.read("k001").status == status and noted(str(tmp_path / "log")).count("k001") == 2
    assert alarms(events) == [f"{died}; it is tried again"]
    assert status == "ok" or store.read("k001").note == f"{died}; so ended 2 tries"


def test_a_worker_that_is_killed_loses_the_cell_it_held_which_is_computed_elsewhere(cluster, tmp_path):
    log = str(tmp_path / "log")

    def kill_one() -> None:
        while not noted(log):
            time.sleep(0.05)
        (holder,) = [address for address, tasks in cluster.processing().items() if tasks]
        os.kill(cluster.run(os.getpid, workers=[holder])[holder], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    store, events, _ = ran(tmp_path, Toy(log, 1.0), workers=1)
    killer.join()
    assert table(store) == REFERENCE
    (said,) = alarms(events)
    assert said.startswith("its Dask worker tls://127.0.0.1:") and said.endswith(" left the cluster; it is tried again")
    assert len(noted(log)) <= len(GRID) + 1


def test_a_worker_of_other_code_or_libraries_is_refused_by_name(cluster, tmp_path, monkeypatch):
    there = f"{DaskPool.__module__}.versions_here"
    monkeypatch.setattr(there, lambda: (("python", "2.7"), ("dask", "0")))
    with pytest.raises(InputError, match=r"^--engine: the Dask worker tls://127\.0\.0\.1:\d+ on \S+: found python \d"):
        ran(tmp_path, Toy(str(tmp_path / "log")))
    assert not noted(str(tmp_path / "log"))


def test_a_worker_on_another_kind_of_machine_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "versions", lambda device, threads: (("machine", "abacus"), ("device", "cpu")))
    with pytest.raises(InputError, match=r"^--engine: the Dask worker tls://.*: found machine \S.* \(here abacus\), "):
        ran(tmp_path, Toy(str(tmp_path / "log")))
    assert not noted(str(tmp_path / "log"))


ORDER = Order("a:b", "{}", "c0de", (("device", "cpu"),), 1, 0, "/out", "mark", "/", float("inf"), float("inf"))
HERE = (("python", "3.11"), ("torch", "2.14"))


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (Greeting("node", "", "c0de", HERE, False), ""),
        (Greeting("node", "", "bad", HERE, False), "seethrough's code bad (here c0de)"),
        (
            Greeting("node", "", "c0de", (("python", "3.12"),), False),
            "python 3.12 (here 3.11), torch none (here 2.14)",
        ),
        (Greeting("node", "", "c0de", HERE, True), "code or libraries that were changed since it started"),
    ],
)
def test_what_a_worker_says_of_itself_is_held_against_this_process(greeting, said):
    assert difference(read(written(greeting), Greeting), ORDER, HERE) == said
    assert read(written(ORDER), Order) == ORDER


def test_only_what_text_can_say_is_sent():
    assert described(Toy("log", 0.5)) == ("tests.reliability.toys:Toy", '{"log": "log", "seconds": 0.5}')
    with pytest.raises(TypeError, match="cannot be sent as text"):
        described(Toy(("a", "tuple")))  # type: ignore[arg-type]


def test_cells_that_were_damaged_or_exchanged_on_the_way_are_not_kept(tmp_path):
    store, data = Store(tmp_path), encode(cell_of("k000"))
    for wrong, key in ((data[:-1], "k000"), (data, "k001"), (b"", "k000")):
        with pytest.raises(DamagedFileError, match=r"^what tcp://a:1 sent is damaged: "):
            store.write_sealed(key, wrong, "what tcp://a:1 sent")
    store.write_sealed("k000", data, "what tcp://a:1 sent")
    assert store.cell_keys() == ("k000",) and store.path("k000").read_bytes() == data


def test_a_computation_that_cannot_be_made_on_a_worker_ends_the_run_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "described", lambda compute: ("no.such.module:Toy", "{}"))
    with pytest.raises(RunError, match=r"^the Dask worker tls://.* broke: ModuleNotFoundError: No module named 'no'"):
        ran(tmp_path, Toy(str(tmp_path / "log")))


@pytest.mark.parametrize(("kills", "workers"), [(1, 1), pytest.param(50, 2, marks=pytest.mark.slow)])
def test_schedulers_and_workers_killed_at_random_instants_change_nothing(tmp_path, measured, kills, workers):
    found = campaign(tmp_path, kills, workers, 40 + workers)
    assert found["kills"] == kills and found["broken_off"] > 0, "no kill hit a run at work: the campaign tested nothing"
    measured(
        kills,
        f"{kills} kills, {found['schedulers']} of them of the scheduler, with {workers} worker{'s' * (workers > 1)}: "
        f"{found['broken_off']} runs broken off and gone on with, {found['lost']} cells under way computed once more; nothing "
        "else lost, doubled or changed",
    )
