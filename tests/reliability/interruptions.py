"""Runs that are asked to end, or whose reader goes away, at random instants: experiments of the laboratory."""

import os
import random
import re
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

from seethrough.audit.cli import shell
from tests.reliability.command import Command, ended, left_behind

CELLS, SECONDS = 6, 0.01
IGNORED = re.compile(r"Exception ignored in: <function _(?:release|acquire)Lock .*?KeyboardInterrupt: \n", re.DOTALL)
"""Printed by Python's logging where a process is forked just then, as these are; the command's own are forked by a server."""
SOON = 0.01  # seconds: before that no run is over
ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Interrupted:
    """Figures so far."""

    reference: dict[str, bytes]
    duration: float
    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


def attentive() -> None:
    """Signals wait until the command has begun, and after its end: what Python does there is not the product's.

    They are blocked in a process that is forked, so that none comes too early.
    """
    warnings.simplefilter("ignore", ResourceWarning)  # as Python does, of what an interrupt leaves open
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a job under nohup ignores it, as it should
    app = shell.app

    def heard(standalone_mode: bool) -> object:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)
        try:
            return app(standalone_mode=standalone_mode)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, ALL)

    mock.patch.object(shell, "app", heard).start()


def signals(folder: str, name: str, times: int, whole_group: bool, rounds: int, seed: int) -> dict[str, int | float]:
    """`rounds` runs that get a signal, `times` times in a row, at an instant of their lives. Raises: AssertionError."""
    rng, number = random.Random(seed), signal.Signals[name]

    def interrupt(pid: int) -> None:
        for _ in range(times):
            (os.killpg if whole_group else os.kill)(pid, number)
            time.sleep(rng.uniform(0, 0.02))

    return _interruptions(folder, rounds, rng, attentive, interrupt, {0, 130, -signal.SIGHUP})


def closed_pipes(folder: str, rounds: int, seed: int) -> dict[str, int | float]:
    """`rounds` runs whose reader closes its pipe, as `head` does. Raises: AssertionError."""
    rng, (reading, writing) = random.Random(seed), os.pipe()

    def into_pipe() -> None:
        os.dup2(writing, 1)
        os.close(reading)

    def close(pid: int) -> None:
        nonlocal reading, writing
        os.close(reading)
        os.close(writing)

    def renewed() -> None:
        nonlocal reading, writing
        reading, writing = os.pipe()

    os.close(reading)
    os.close(writing)
    return _interruptions(folder, rounds, rng, into_pipe, close, {0, 1}, renewed)


def _interruptions(
    folder: str,
    rounds: int,
    rng: random.Random,
    prepare: Callable[[], None],
    interrupt: Callable[[int], None],
    codes: set[int],
    before: Callable[[], None] = lambda: None,
) -> dict[str, int | float]:
    whole, began = Command(Path(folder) / "whole", CELLS, SECONDS, 2), time.monotonic()
    assert whole.run() == 0, whole.errors
    state = Interrupted(left_behind(whole.out), time.monotonic() - began)
    for number in range(rounds):
        before()
        instant = (number + rng.random()) / rounds * state.duration  # one in each part of a run's life
        _interrupt(Path(folder) / str(number), instant, prepare, interrupt, codes, state)
    longest = state.duration
    while (
        state.counts["exit code 0"] == state.counts["rounds"] and longest > SOON
    ):  # all of them were faster than the first
        longest /= 2
        before()
        _interrupt(Path(folder) / f"{longest}", longest * rng.random(), prepare, interrupt, codes, state)
    return {**state.counts, "slowest": round(state.slowest, 2)}


def _interrupt(
    folder: Path,
    instant: float,
    prepare: Callable[[], None],
    interrupt: Callable[[int], None],
    codes: set[int],
    state: Interrupted,
) -> None:
    """One run; what it says, leaves and starts, and that it goes on to the same bytes."""
    command = Command(folder, CELLS, SECONDS, 2, prepare=prepare)
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    pid = command.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)
    time.sleep(instant)
    asked = time.monotonic()
    interrupt(pid)
    code = ended(pid)
    while _lives(pid):
        assert time.monotonic() - asked < 5, "a worker outlives the run"
        time.sleep(0.005)
    state.slowest = max(state.slowest, time.monotonic() - asked)
    assert code in codes, f"exit code {code} after {instant} s: {command.errors}"
    assert "Traceback" not in IGNORED.sub("", command.errors), f"exit code {code}: {command.errors}"
    again = replace(command, prepare=lambda: None)
    assert again.run() == 0, again.errors
    assert left_behind(again.out) == state.reference, "the table differs"
    state.counts.update(rounds=1, **{f"exit code {code}": 1})
    shutil.rmtree(folder)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
