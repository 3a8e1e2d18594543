"""Kill whole runs at random instants, resume them, and check all that a kill must not change: an experiment."""

import fcntl
import os
import random
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from seethrough.audit.cells.store import Store
from tests.reliability.toys import Toy, noted, places, run, table

GRID = places(24)
KEYS = {place.key for place in GRID}


@dataclass
class Campaign:
    """Figures so far."""

    workers: int
    reference: dict[str, bytes] = field(default_factory=dict)
    duration: float = 0.0
    counts: Counter = field(default_factory=Counter)


def forked_run(store: Store, workers: int, kill_after: float | None = None) -> bool:
    """Whether the run was killed, with all its workers, before it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            run(store, GRID, Toy(f"{store.directory}.log", 0.02), workers, "fork")
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # killed before it had a group
            os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL) if kill_after is not None else status == 0, f"the run ended with {status}"
    wait_for_workers(store)
    return status != 0


def wait_for_workers(store: Store) -> None:
    """Workers that are forked hold the run's lock for the moment that they take to die."""
    store.directory.mkdir(exist_ok=True)
    with open(store.directory / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def attempt(state: Campaign, store: Store, kill_after: float | None) -> bool:
    """Run once, perhaps killed; check what was computed and what is there."""
    before, log = set(table(store)), f"{store.directory}.log"
    start = len(noted(log))
    killed = forked_run(store, state.workers, kill_after)
    computed, after = Counter(noted(log)[start:]), table(store)
    assert not before & set(computed), "a finished cell was computed again"
    assert set(computed.values()) <= {1}, "a cell was computed twice"
    assert before <= set(after) <= before | set(computed), "a cell was lost or came from nowhere"
    assert all(state.reference[key] == data for key, data in after.items()), "a cell differs"
    assert not (store.directory / "damaged").exists(), "a file was torn"
    if killed:
        lost = len(set(computed) - set(after))
        assert lost <= state.workers, "a kill lost more cells than there are workers"
        state.counts.update(kills=1, lost=lost, temporaries=len(list(store.directory.rglob("*.tmp"))))
    else:
        assert after == state.reference, "the table differs"
        assert before | set(computed) == KEYS, "a cell was not computed"
        assert not list(store.directory.rglob("*.tmp")), "a temporary file was left"
        store.read_manifest()
    state.counts.update(runs=1, cells=len(computed))
    return killed


def instant(rng: random.Random, state: Campaign, store: Store) -> float:
    """Seconds after which to kill, uniform over about the time that the rest of the grid takes."""
    return rng.uniform(0, 0.05 + state.duration * (1 - len(store.cell_keys()) / len(KEYS)))


def campaign(folder: str, kills: int, workers: int, seed: int) -> dict[str, int | float]:
    """Figures of a campaign in which no kill changed anything. Raises: AssertionError."""
    rng, state, began = random.Random(seed), Campaign(workers), time.monotonic()
    store = Store(Path(folder) / "reference")
    forked_run(store, workers)
    state.duration, state.reference = time.monotonic() - began, table(store)
    assert set(state.reference) == KEYS
    grid = 0
    while state.counts["kills"] < kills:
        store, grid = Store(Path(folder) / f"grid{grid}"), grid + 1
        while state.counts["kills"] < kills and attempt(state, store, instant(rng, state, store)):
            if rng.random() < 0.2:
                break
        attempt(state, store, None)
    return {**state.counts, "grids": grid, "seconds": round(time.monotonic() - began, 1)}
