"""What commands show of a run: its summary, what failed in it, what of it is a shard; and the exit code for what is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from seethrough.common.console import say, visible

from .shell import FAILED, REFUTED, UNCONTROLLED, out, stop

if TYPE_CHECKING:
    from seethrough.reports.findings.labels import Told
    from seethrough.reports.report import Report

    from ..cells.shards import Shard

SHOWN = 20  # lines of one kind that are printed


def show(report: "Report", directory: Path) -> None:
    """The summary of a run, where its documents lie, and the exit code of what is wrong with it."""
    from seethrough.reports.findings.recoveries import refutation
    from seethrough.reports.headline import failed_control
    from seethrough.reports.overview import summarize

    from ..cells.finished import failed_cells

    for grid in summarize(report.blocks):
        table = Table(title=_plain(f"{grid.setting}; {grid.threat}"), title_justify="left")
        for heading in ("defense", "attack", "finding (value vs a guesser's)"):
            table.add_column(heading, overflow="fold")
        for position, defense in enumerate(grid.defenses):
            table.add_section()
            for row in grid.rows:
                cell, named = row.cells[position], _plain(defense) if row is grid.rows[0] else ""
                said = f"{cell.standing}: {cell.text}" if cell.text else f"{cell.standing}"
                table.add_row(named, _plain(row.attack), _plain(said))
        out.print(table)
    _show_undecided(report)
    _show_labels(report.labels)
    _show_failed(report)
    for change in report.plan_changes:
        say(out, change, "yellow")
    if report.choice:
        say(out, report.choice)
    say(out, f"tables: {directory / 'results.csv'}, {directory / 'results.md'}")
    say(out, f"report: {directory / 'index.html'}")
    if report.manifest.personal and any(cell.pictures or cell.label_counts for cell in report.cells):
        held = f"{directory / 'cells'} holds pictures or labels that may be of real people"
        say(out, f"{held}; `seethrough redact {directory}` deletes them")
    uncontrolled, contradiction = failed_control(report.blocks), refutation(report.recoveries)
    if uncontrolled:  # then nothing else is to be believed, a refutation neither
        stop(f"{uncontrolled} {contradiction}".strip(), UNCONTROLLED)
    if contradiction:
        stop(contradiction, REFUTED)
    failed = failed_cells(report.cells)
    if failed:
        said = (
            f"{failed} of {len(report.cells)} cells failed; the report names them, --retry-failed computes them again"
        )
        stop(said, FAILED)


def show_shard(report: "Report", directory: Path, shard: "Shard") -> None:
    """What became of a shard's cells, and the exit code for those that failed. A verdict is for all shards together."""
    from ..cells.finished import failed_cells

    planned = shard.of(report.manifest.places + report.manifest.trainings)
    done = {place.key for place in planned}.intersection(cell.key for cell in report.cells)
    _show_failed(report)
    say(
        out,
        f"shard {shard}: {len(done)} of its {len(planned)} cells are in {directory}; no verdict before all are merged",
    )
    if failed := failed_cells(report.cells):
        stop(f"{failed} of {len(report.cells)} cells failed; --retry-failed computes them again", FAILED)


def _show_undecided(report: "Report") -> None:
    """Why what is undecided is so, and what would decide it."""
    said = [
        f"{section.setting}, {section.threat}: {': '.join((each.subject, each.text))} {'; '.join(each.points)}".rstrip()
        for section in report.verdict.sections
        for each in section.statements
        if each.subject.endswith(": undecided")
    ]
    for line in said[:SHOWN]:
        say(out, line)


def _show_labels(told: "Sequence[Told]") -> None:
    for each in told[:SHOWN]:
        say(out, f"{each.client}, {each.place.attack} through {each.place.defense}: found {each.words}")
    if len(told) > SHOWN:
        say(out, f"and labels of {len(told) - SHOWN} more in labels.csv")


def _show_failed(report: "Report") -> None:
    """A table that names the cells that failed, and why."""
    from seethrough.reports.findings.text import brief

    from ..cells.finished import why_failed

    reasons = {cell.key: why for cell in report.cells if (why := why_failed(cell)) is not None}
    if not reasons:
        return
    planned = report.manifest.places + report.manifest.trainings
    failed = [(place, reasons[place.key]) for place in planned if place.key in reasons]
    table = Table(title=f"failed cells{f', the first {SHOWN}' if len(failed) > SHOWN else ''}", title_justify="left")
    for heading in ("setting", "defense", "attack", "trial", "why"):
        table.add_column(heading, overflow="fold")
    for place, why in failed[:SHOWN]:
        names = (place.setting, place.defense, place.attack, str(place.trial), brief(why))
        table.add_row(*map(_plain, names))
    out.print(table)


def _plain(text: str) -> str:
    """Text for a table, which reads markup."""
    return escape(visible(text))
