"""A Dask scheduler and workers of this machine, each a process that can be killed, and a campaign that kills them."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from seethrough.audit.cells.cluster.start import cluster_pool
from seethrough.audit.cells.job import Job
from seethrough.audit.cells.limits import NO_LIMITS
from seethrough.audit.cells.runner import Event, Noticed, RunError, run_in
from seethrough.audit.cells.store import Store, encode, pending
from seethrough.audit.device import device_for
from seethrough.audit.revision import code_revision
from seethrough.common.errors import InputError
from tests.reliability.toys import Toy, cell_of, noted, places, table

GRID = places(24)
REFERENCE = {place.key: encode(replace(cell_of(place.key), seconds=0.0)) for place in GRID}
SECONDS = 0.1  # of a cell
ORPHANED = 120  # seconds: a server that forks sees that its parent is gone once it has imported torch
OPTIONS = ("--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", "site.json")
WORKER = ("--nthreads", "1", "--memory-limit", "0", "--local-directory", "scratch")


@dataclass
class Site:
    """A scheduler with workers, as `dask scheduler` and `dask worker` start them."""

    folder: Path
    workers: int
    scheduler: subprocess.Popen | None = None
    nannies: list[subprocess.Popen] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(json.loads((self.folder / "site.json").read_text())["address"])

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "site.json").unlink(missing_ok=True)
        self.scheduler = self._started("scheduler", "--port", "0", *OPTIONS)
        self.nannies = [self._started("worker", *OPTIONS, *WORKER) for _ in range(self.workers)]
        end = time.monotonic() + 120
        while not (self.folder / "site.json").exists():
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill scheduler and nannies; what they started must end by itself."""
        started = [child for nanny in self.nannies for child in _descendants(nanny)]
        for process in (self.scheduler, *self.nannies):
            if process is not None:
                process.kill()
                process.wait()
        assert not psutil.wait_procs(started, timeout=ORPHANED)[1], "a process outlives its Dask worker"

    def dask_workers(self) -> list[int]:
        """The processes that nannies run just now."""
        children = [child for nanny in self.nannies for child in _descendants(nanny, False)]
        return [child.pid for child in children if "resource_tracker" not in _command(child)]

    def _started(self, *what: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with (self.folder / "log").open("a") as log:
            command = [sys.executable, "-m", "dask", *what]
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _descendants(process: subprocess.Popen, recursive: bool = True) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive) if process.poll() is None else []


def _command(process: psutil.Process) -> str:
    """Empty, once it is dead."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def run(site: Site, store: Store, log: str, events: list[Event]) -> bool:
    """Whether a run over the grid came to its end before its scheduler did."""
    job = Job(Toy(log, SECONDS), store, 1, 0, code_revision())
    with store.lock():
        todo = pending(GRID, store).todo
        try:
            with cluster_pool(site.address, job, 0, device_for("cpu"), NO_LIMITS, print) as (pool, _):
                run_in(pool, todo, job, events.append)
        except (RunError, InputError) as error:
            assert str(error).startswith(("the Dask scheduler is gone", "--scheduler: found ")), error
            return False
    return True


def attempt(site: Site, store: Store) -> tuple[bool, int]:
    """Whether a run ended, and how many cells it lost on the way; what it left is checked."""
    log, events, before = f"{store.directory}.log", [], set(table(store)) if store.directory.exists() else set()
    start = len(noted(log))
    ended = run(site, store, log, events)
    computed, after = Counter(noted(log)[start:]), table(store)
    again = Counter(event.place.key for event in events if isinstance(event, Noticed))
    assert not before & set(computed), "a finished cell was computed again"
    assert all(times <= 1 + again[key] for key, times in computed.items()), "a cell was computed twice for no reason"
    assert before <= set(after) <= before | set(computed), "a cell was lost or came from nowhere"
    assert all(REFERENCE[key] == data for key, data in after.items()), "a cell differs"
    assert not (store.directory / "damaged").exists(), "a file was torn"
    if ended:
        assert after == REFERENCE and not list(store.directory.rglob("*.tmp")), "something is missing, or left over"
    return ended, again.total() + len(set(computed) - set(after))


def campaign(folder: Path, kills: int, workers: int, seed: int) -> Counter[str]:
    """Figures of a campaign in which no kill changed anything; every other one is of the scheduler. Raises: AssertionError."""
    rng, counts, site = random.Random(seed), Counter[str](), Site(folder / "site", workers)
    site.start()
    try:
        assert attempt(site, Store(folder / "undisturbed"))[0]
        for kill in range(kills):
            of_scheduler, store = kill % 2 == 0, Store(folder / f"run{kill}")
            victims = [site.scheduler.pid] if of_scheduler and site.scheduler else site.dask_workers()
            instant = rng.uniform(0.0, SECONDS * len(GRID) / workers)
            killer = threading.Timer(instant, os.kill, (rng.choice(victims), signal.SIGKILL))
            killer.start()
            ended, lost = attempt(site, store)
            killer.join()
            if of_scheduler:
                site.stop()
                site.start()
            if not ended:
                assert attempt(site, store)[0]
            counts.update(kills=1, schedulers=of_scheduler, broken_off=not ended, lost=lost)
    finally:
        site.stop()
    return counts
