"""What thousands of cells cost beside their computation: in the process that runs them, and when their report is made anew.

    python benchmarks/scale.py                   # 10,000 cells, in some minutes
    python benchmarks/scale.py --cells 1000 --folder /tmp/scale

The cells are made up, as large as those of two metrics on a batch of two images: they take no time, so that what is left is
ours. They are written by worker processes as an audit's are. Memory is what a process took at its peak above what it held
before the first cell. Seconds depend on the machine and on what else it does, so commands stand beside `import typer`, timed
in turns with them; both are the time that the processors worked, medians over `--rounds`.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from made_up_cells import cell_of, manifest_of, places
from rich.console import Console

from seethrough.audit.cells.finished import finished_cells
from seethrough.audit.cells.progress import watching
from seethrough.audit.cells.runner import run_cells
from seethrough.audit.cells.store import Store, pending
from seethrough.common.processes import afresh
from seethrough.reports import write_reports

COMMAND = "from seethrough.audit.cli import main; main()"


def run(folder: Path, count: int) -> None:
    """What `seethrough run` does once an audit is planned; prints figures of this process as JSON."""
    before, began, spent = peak(os.getpid()), time.perf_counter(), time.process_time()
    grid, quiet = places(count), Console(quiet=True)
    manifest, store = manifest_of(grid), Store(folder)
    with store.lock():
        store.write_manifest(manifest)
        todo = pending(grid, store).todo
        with watching(quiet, todo, 0, 2) as watch:
            run_cells(todo, cell_of, store, 2, 1, watch, start_method=afresh(gpu=False))
        figures = {"wall": (time.perf_counter() - began) / count, "cpu": (time.process_time() - spent) / count}
        figures["running"] = (peak(os.getpid()) - before) / count
        write_reports(folder, manifest, finished_cells(store, manifest, quiet))
    print(json.dumps(figures | {"all": (peak(os.getpid()) - before) / count}))


def peak(process: int) -> int:
    """The most main memory that a process has taken so far, in bytes."""
    found = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(found.split()[1])


def spent_on(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds of the processors, and the peak memory in bytes, of a Python process."""
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', *sys.argv[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss)"
    )
    command = [sys.executable, "-c", script, code, *arguments]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(memory)


def commands(folder: Path, rounds: int) -> None:
    """Print what commands take to run, beside what importing typer takes."""
    small, asked = str(folder / "small"), ["--version", "--help", "list", "schema", "schema report"]
    made = [sys.executable, __file__, "--cells", "100", "--folder", small, "--only-run"]
    subprocess.run(made, capture_output=True, check=True)
    asked += [f"report {small}", f"check {small}", f"compare {small} {small}"]
    taken: dict[str, list[tuple[float, float]]] = {command: [] for command in ["import typer", *asked]}
    for _ in range(rounds):
        for command, found in taken.items():
            words = command.split() if command != "import typer" else None
            found.append(spent_on(COMMAND, *words) if words else spent_on(command))
    unit = statistics.median(seconds for seconds, _ in taken["import typer"])
    print(f"\n{'command':<20}{'seconds':>10}{'of typer':>10}{'MB':>8}")
    for command, found in taken.items():
        seconds, memory = (statistics.median(each) for each in zip(*found, strict=True))
        print(f"{command.replace(small, 'SMALL'):<20.20}{seconds:>10.2f}{seconds / unit:>10.1f}{memory / 1e6:>8.0f}")


def main(
    cells: Annotated[int, typer.Option(help="How many.")] = 10_000,
    rounds: Annotated[int, typer.Option(help="How often commands are timed.")] = 5,
    folder: Annotated[Path | None, typer.Option(help="Where to write them; without it, nothing is kept.")] = None,
    only_run: Annotated[bool, typer.Option("--only-run", hidden=True)] = False,
) -> None:
    """Measure and print."""
    if only_run and folder:
        run(folder, cells)
        return
    with TemporaryDirectory() as temporary:
        base = folder or Path(temporary)
        large = base / "large"
        command = [sys.executable, __file__, "--cells", str(cells), "--folder", str(large), "--only-run"]
        figures = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(
            f"{cells} cells on 2 workers: {1e3 * figures['wall']:.1f} ms a cell, of the parent's processor "
            f"{1e3 * figures['cpu']:.2f} ms; parent's memory {figures['running'] / 1e3:.1f} kB a cell while it runs, "
            f"{figures['all'] / 1e3:.1f} kB with the reports"
        )
        seconds, memory = spent_on(COMMAND, "report", str(large))
        unit = spent_on("import typer")[0]
        print(
            f"report: {seconds:.1f} s ({seconds / unit:.0f} of import typer), {memory / 1e6:.0f} MB; the page "
            f"{(large / 'index.html').stat().st_size / 1e6:.1f} MB"
        )
        if rounds:
            commands(base, rounds)


if __name__ == "__main__":
    typer.run(main)
