"""What the rows of an audit come to, before it is written down."""

from collections.abc import Sequence
from dataclasses import dataclass

from .choice import choice
from .control_statements import missing_controls
from .costs import nothing_learned
from .defense_table import DefenseLine, defense_lines
from .findings.claims import Promise, promises
from .findings.grid import Block, Reading, read_blocks, read_grid
from .findings.label_histograms import LabelHistogram, label_histograms
from .findings.labels import Told, told_labels
from .findings.over import Over, over
from .findings.problems import Statement
from .findings.recoveries import Recovered, recoveries, refutation
from .findings.utility import Tradeoff, Trained, tradeoffs, training_readings, trainings
from .plan_changes import plan_changes
from .row import Cell, Manifest
from .verdict import Verdict, judge


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
    labels: tuple[Told, ...]
    histograms: tuple[LabelHistogram, ...]
    trained: tuple[Trained, ...]
    plots: tuple[Tradeoff, ...]
    over: tuple[Over, ...]
    defenses: tuple[DefenseLine, ...]
    plan_changes: tuple[str, ...]
    choice: str  # which defense lets least through; empty where that is no question
    costs: tuple[str, ...]  # where nothing is known of what a defense costs, and why
    missing_controls: tuple[Statement, ...]


def read_report(manifest: Manifest, cells: Sequence[Cell]) -> Report:
    """The report of what was planned and of the cells that were computed, in any order."""
    readings = read_grid(manifest, cells)
    blocks = read_blocks(readings, manifest.margins, manifest.sums)
    trained, promised = trainings(manifest, cells), promises(manifest, cells)
    recovered = recoveries(manifest, cells)
    lines = defense_lines(blocks, promised, trained, recovered)
    return Report(
        manifest=manifest,
        cells=tuple(cells),
        readings=readings,
        blocks=blocks,
        verdict=judge(
            *(readings, blocks, manifest.doubts, bool(refutation(recovered)), manifest.earlier),
            trainings=training_readings(manifest, cells),
        ),
        plan_changes=plan_changes(manifest),
        promises=promised,
        recoveries=recovered,
        labels=told_labels(manifest, cells),
        histograms=label_histograms(manifest, cells),
        trained=trained,
        plots=tradeoffs(blocks, trained),
        over=over(manifest, blocks, promised),
        defenses=lines,
        choice="" if refutation(recovered) or manifest.doubts else choice(blocks, lines),
        costs=nothing_learned(trained),
        missing_controls=missing_controls(blocks),
    )
