"""Small stand-ins for an audit: places, what to compute there, and the table that a finished run leaves."""

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seethrough.audit.cells.runner import Event, run_cells
from seethrough.audit.cells.store import Store, encode, pending
from seethrough.common.processes import StartMethod
from seethrough.reports.row import Cell, Claim, Guess, Manifest, Pictures, Place, Score


def places(count: int) -> tuple[Place, ...]:
    return tuple(Place(f"k{i:03}", "setting", "threat", "defense", "attack", i) for i in range(count))


def manifest_of(grid: Sequence[Place]) -> Manifest:
    return Manifest("toy", 0, len(grid), "name: toy\n", (), (), (), (), (), (("torch", "2"),), (), tuple(grid))


def cell_of(key: str) -> Cell:
    """A cell whose content is a function of its key."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48
    scores = (
        Score("psnr", "higher", "ok", "", number, 2 * number, -0.0, (Guess("gray", 1e-320),), perfect=0.1, n=8),
        Score(
            "ssim", "higher", "nan", "not finite", value=float("nan"), decoy=float("inf"), perfect=float("-inf"), n=8
        ),
        Score("lpips", "lower", "unavailable", "no weights"),
    )
    pictures = Pictures(("iVBORw0KGgo=" * 32,), ("iVBORw0KGgo=" * 32,), ())
    return Cell(key, "ok", "", scores, Claim(1.0, 1e-5, "ε = 1 🔒"), pictures, seconds=0.5, seed=2**53 + 1, code="toy")


def checksummed(body: bytes) -> bytes:
    """A file with this body whose hash is right."""
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@dataclass(frozen=True)
class Toy:
    """Logs that it began, takes its time, and returns the cell of the key."""

    log: str
    seconds: float = 0.0

    def __call__(self, place: Place) -> Cell:
        note(self.log, place.key)
        time.sleep(self.seconds)
        return cell_of(place.key)


def note(log: str, line: str) -> None:
    """Append a line in one step, as several processes may do at once."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def noted(log: str) -> list[str]:
    return Path(log).read_text().split() if Path(log).exists() else []


def ignore(event: Event) -> None:
    """Watch nothing."""


def table(store: Store) -> dict[str, bytes]:
    """What a run leaves, byte for byte but for the seconds; damage raises."""
    keys = store.cell_keys()
    cells = [store.read(key) for key in keys]
    return {cell.key: encode(replace(cell, seconds=0.0)) for cell in cells if cell is not None}


def run(store: Store, grid: Sequence[Place], toy: Toy, workers: int, start_method: StartMethod) -> None:
    """What the command line does: lock, plan, compute what is left."""
    with store.lock():
        store.write_manifest(manifest_of(grid))
        left = pending(grid, store)
        assert not left.damaged
        run_cells(left.todo, toy, store, workers, 1, ignore, start_method=start_method)
