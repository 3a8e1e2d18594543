"""Clocks that jump while a run is under way, and files from the past and the future: an experiment of the laboratory."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from unittest import mock

from tests.reliability.command import Command, left_behind
from tests.reliability.toys import noted

YEAR = 365 * 86_400.0


def jumps(folder: str) -> int:
    """How often a run asked a clock that jumps; it computed no finished cell again. Raises: AssertionError."""
    whole = Command(Path(folder) / "whole")
    assert whole.run() == 0, whole.errors
    command = replace(whole, folder=Path(folder) / "one", log=f"{folder}/log", prepare=_astray)
    assert replace(command, arguments=("--shard", "1/2")).run() == 0, command.errors
    moments = (0.0, 130 * YEAR)
    for number, path in enumerate(sorted(command.out.rglob("*"))):
        os.utime(path, (moments[number % 2],) * 2)
    assert command.run() == 0, command.errors
    assert sorted(noted(command.log)) == ["k000", "k001", "k002", "k003"], "a finished cell was computed again"
    assert left_behind(command.out) == left_behind(whole.out), "the table differs"
    return len(noted(f"{command.folder}/jumps"))


def _astray() -> None:
    """Every look at the clock of the day finds another year."""
    years: Iterator[int] = cycle((1, -30, 90, 0))

    def jumped() -> float:
        with open("jumps", "a") as file:
            file.write("jump\n")
        return real() + next(years) * YEAR

    real = time.time
    mock.patch.object(time, "time", jumped).start()
