"""What the rows of an audit come to, before it is written down."""

from collections.abc import Sequence
from dataclasses import dataclass

from seethrough.reports.findings.claims import Promise, promises
from seethrough.reports.findings.grid import Block, Reading, read_blocks, read_grid
from seethrough.reports.findings.recoveries import Recovered, recoveries
from seethrough.reports.findings.utility import Tradeoff, Trained, tradeoffs, trainings
from seethrough.reports.row import Cell, Manifest
from seethrough.reports.verdict import Verdict, judge


@dataclass(frozen=True)
class Report:
    """All that the tables and the page show."""

    manifest: Manifest
    cells: tuple[Cell, ...]
    readings: tuple[Reading, ...]
    blocks: tuple[Block, ...]
    verdict: Verdict
    promises: tuple[Promise, ...]
    recoveries: tuple[Recovered, ...]
    trained: tuple[Trained, ...]
    plots: tuple[Tradeoff, ...]


def read_report(manifest: Manifest, cells: Sequence[Cell]) -> Report:
    """The report of what was planned and of the cells that were computed, in any order."""
    readings = read_grid(manifest, cells)
    blocks = read_blocks(readings)
    trained = trainings(manifest, cells)
    return Report(
        manifest=manifest,
        cells=tuple(cells),
        readings=readings,
        blocks=blocks,
        verdict=judge(readings, blocks),
        promises=promises(manifest, cells),
        recoveries=recoveries(manifest, cells),
        trained=trained,
        plots=tradeoffs(blocks, trained),
    )
