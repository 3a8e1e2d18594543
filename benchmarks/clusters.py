"""What a Dask cluster of this machine costs and brings beside local processes: bytes, milliseconds a cell, speed-up.

    python benchmarks/clusters.py                     # some minutes
    python benchmarks/clusters.py --cells 40 --rounds 3

Three kinds of cells: made up ones, which take no time, so that what is left is the engine's own; ones that sleep, which tell
how well workers are kept busy, whatever else the machine does; and ones that keep a core busy, which tell the speed-up where
there are cores. Engines and numbers of workers take turns; starting and ending them is counted apart. What is printed are
medians over `--rounds`, with the smallest and the largest.
"""

import hashlib
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from made_up_cells import Work, places

from seethrough.audit.cells.job import Job
from seethrough.audit.cells.limits import NO_LIMITS
from seethrough.audit.cells.runner import Event, Finished, Started, run_in
from seethrough.audit.cells.store import Store, encode
from seethrough.audit.engine import Engine, pool_of
from seethrough.audit.revision import code_revision
from seethrough.common.processes import afresh

CPU = torch.device("cpu")
ENGINES = ("local", "dask")


@dataclass(frozen=True)
class Taken:
    """Seconds of one run."""

    starting: float  # until the first cell is handed out
    working: float  # from then until the last one is finished
    ending: float
    table: bytes  # SHA-256 of all cells but for their seconds


@contextmanager
def _clock(into: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    into.append(time.perf_counter() - began)


def run(engine: str, workers: int, work: Work, count: int) -> Taken:
    """One run, in a folder of its own."""
    heard: list[tuple[float, Event]] = []
    with TemporaryDirectory() as folder:
        store, grid = Store(Path(folder)), places(count)
        job, began = Job(work, store, 1, 0, code_revision()), time.perf_counter()
        pool = pool_of(Engine(engine), job, workers, CPU, NO_LIMITS, afresh(gpu=False), print)  # type: ignore[arg-type]
        with pool as (workforce, _):
            run_in(workforce, grid, job, lambda event: heard.append((time.perf_counter(), event)))
        ended, digest = time.perf_counter(), hashlib.sha256()
        for place in grid:
            cell = store.read(place.key)
            assert cell is not None and cell.status == "ok", cell
            digest.update(encode(replace(cell, seconds=0.0)))
    first = next(moment for moment, event in heard if isinstance(event, Started))
    last = max(moment for moment, event in heard if isinstance(event, Finished))
    return Taken(first - began, last - first, ended - last, digest.digest())


def _said(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main(
    cells: Annotated[int, typer.Option(help="How many that sleep or compute; ten times as many that do neither.")] = 60,
    rounds: Annotated[int, typer.Option(help="How often each is run.")] = 3,
    most: Annotated[int, typer.Option(help="The largest number of workers, doubled up from 1.")] = 4,
) -> None:
    """Measure and print."""
    kinds = {"nothing": (Work(), 10 * cells), "sleep of 0.5 s": (Work(seconds=0.5), cells)}
    kinds["hashing, about 0.5 s"] = (Work(rounds=_rounds(0.5)), cells)
    numbers = [workers for workers in (1, 2, 4, 8, 16) if workers <= most]
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the beginning")
    print("| cells | engine | workers | ms a cell beside its own time | speed-up over 1 | starting, s | ending, s |")
    print("|---|---|---|---|---|---|---|")
    for kind, (work, count) in kinds.items():
        taken: dict[tuple[str, int], list[Taken]] = {}
        for _ in range(rounds):
            for workers in numbers:
                for engine in ENGINES:
                    taken.setdefault((engine, workers), []).append(run(engine, workers, work, count))
        assert len({each.table for found in taken.values() for each in found}) == 1, "tables differ"
        for (engine, workers), found in taken.items():
            alone = [each.working for each in taken[engine, 1]]
            own = 0.0 if work.rounds else work.seconds * count / workers
            beside = [1e3 * (each.working - own) / count for each in found] if not work.rounds else []
            faster = [one / each.working for one, each in zip(alone, found, strict=True)]
            print(
                f"| {kind} | {engine} | {workers} | {_said(beside, 1) if beside else '-'} | {_said(faster)} | "
                f"{_said([each.starting for each in found], 1)} | {_said([each.ending for each in found], 1)} |"
            )
    print(f"all tables equal, byte for byte but for the seconds; load {os.getloadavg()[0]:.1f} at the end")


def _rounds(seconds: float) -> int:
    """How many rounds of hashing take about so long here, alone."""
    trial, taken = 200_000, list[float]()
    with _clock(taken):
        Work(rounds=trial)(places(1)[0])
    return round(trial * seconds / taken[0])


if __name__ == "__main__":
    typer.run(main)
