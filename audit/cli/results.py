"""The commands that read what a run left behind, without torch: report, merge, redact, check, compare."""

import gc
import os
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seethrough.common.console import say, warn
from seethrough.common.errors import InputError

from .shell import FAILED, INCONCLUSIVE, REFUTED, app, err, out, stop
from .shown import SHOWN, show

if TYPE_CHECKING:
    from seethrough.reports.report import Report
    from seethrough.reports.standards import Point


class Also(str, Enum):
    """Documents that are made when they are asked for."""

    TEX = "tex"
    JUNIT = "junit"
    PARQUET = "parquet"
    PDF = "pdf"


SHOWN_EVIDENCE = 5  # lines below a rule

IncludePrivate = Annotated[
    bool, typer.Option("--include-private", help="Show pictures on the page that may be of real people.")
]


Standards = Annotated[
    Path | None, typer.Option(help="A YAML file of further laws and guidelines, for the page to name.")
]


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="A folder that `seethrough run` wrote.")],
    include_private: IncludePrivate = False,
    standards: Standards = None,
    also: Annotated[
        list[Also] | None,
        typer.Option(help="A further document: LaTeX tables, JUnit XML, a Parquet file, or the page as a PDF."),
    ] = None,
) -> None:
    """Write the tables and the report of a finished or interrupted run anew."""
    from seethrough.reports import write_reports
    from seethrough.reports.exports import write_export

    from ..cells.finished import finished_cells, read_manifest
    from ..cells.store import Store

    added = _added(standards)
    store = Store(directory)
    manifest = read_manifest(store)
    with store.lock():
        cells = finished_cells(store, manifest, err)
        gc.freeze()  # all of it is wanted to the end, and to look it through for garbage takes a second
        written = write_reports(directory, manifest, cells, include_private, added)
        for wanted in also or ():
            say(out, f"wrote {write_export(directory, written, wanted.value)}")
    show(written, directory)


def _added(standards: Path | None) -> "Sequence[Point]":
    if standards is None:
        return ()
    from ..standards import load_standards

    return load_standards(standards)


@app.command(name="merge")
def merge_shards(
    directories: Annotated[list[Path], typer.Argument(help="Folders that `seethrough run --shard` wrote.")],
    directory: Annotated[Path, typer.Option("--out", help="The folder of all of them together.")],
    include_private: IncludePrivate = False,
) -> None:
    """Put shards of one audit together, and write their tables and report."""
    from seethrough.reports.findings.text import counted
    from seethrough.reports.report import read_report

    from ..cells.finished import missing_cells
    from ..merge import merge

    report = read_report(*merge(directories, directory, err, include_private))
    missing = missing_cells(report.manifest, report.cells)
    said = f"{counted(missing, 'cell')} of the audit in none of these shards; the report says which"
    if missing:
        warn(err, said)  # before what else may be wrong, which ends the command
    show(report, directory)
    if missing:
        stop(said, FAILED)


@app.command(name="redact")
def redact_run(directory: Annotated[Path, typer.Argument(help="A folder that `seethrough run` wrote.")]) -> None:
    """Take all pictures and found labels out of a run for good, and write its documents anew. Numbers stay."""
    from seethrough.reports import write_reports

    from ..cells.finished import finished_cells, read_manifest
    from ..cells.redaction import REDACTED, redact
    from ..cells.store import Store

    store = Store(directory)
    read_manifest(store)  # before a folder is made of what is none
    with store.lock():
        manifest = replace(read_manifest(store), redacted=REDACTED)
        redact(store)
        write_reports(directory, manifest, finished_cells(store, manifest, err))
        store.write_manifest(manifest)
    say(out, f"{directory}: {manifest.redacted}")


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="A folder that `seethrough run` wrote.")],
    policy: Annotated[str, typer.Option(help="strict, research, or a YAML file of your own.")] = "strict",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print what speaks for a rule, too.")] = False,
) -> None:
    """Hold a run against a policy: exit code 0 where it is met, 3 where it is violated, 4 where that is not known."""
    from seethrough.reports.gate import judge_policy, lacking_controls, told

    from ..policy import is_fixed, load_policy

    chosen, digest = load_policy(policy)
    report = _report_of(directory)
    found = judge_policy(chosen, report)
    before = "was fixed before" if is_fixed(report.manifest, chosen, digest) else "was not fixed before"
    say(out, f"policy {chosen.name}, SHA-256 {digest[:12]}, {before} the run's first cell")
    for each in found:
        for line in told(each, report, None if verbose else SHOWN_EVIDENCE):
            say(out, line)
    for sentence in lacking_controls(report):
        say(out, sentence)
    outcomes = {each.outcome for each in found}
    counts = (
        (outcome, sum(each.outcome == outcome for each in found)) for outcome in ("met", "violated", "inconclusive")
    )
    say(out, f"of {len(found)} rules {', '.join(f'{count} {outcome}' for outcome, count in counts if count)}")
    if outcomes != {"met"}:
        raise SystemExit(REFUTED if "violated" in outcomes else INCONCLUSIVE)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A folder that `seethrough run` wrote: what was.")],
    second: Annotated[Path, typer.Argument(help="A second such folder: what is now.")],
    markdown: Annotated[Path | None, typer.Option("--out", help="A Markdown file for every number.")] = None,
    html: Annotated[Path | None, typer.Option(help="The same as a self-contained HTML page.")] = None,
) -> None:
    """Compare two runs: exit code 0 where nothing leaks more, 3 where something does, 4 where that is not known."""
    from seethrough.common.files import write_text_atomically
    from seethrough.reports import comparison

    for option, file in (("--out", markdown), ("--html", html)):
        _check_free(option, file)
    if markdown is not None and html is not None and markdown.resolve() == html.resolve():
        raise InputError(f"--html: found {html}, as for --out; allowed: another name.")
    found = comparison.compare(_report_of(first), _report_of(second))
    say(out, comparison.headline(found))
    told = comparison.lines(found)
    for line in told[:SHOWN]:
        say(out, f"    {line}")
    if len(told) > SHOWN:
        say(out, f"    and {len(told) - SHOWN} more; --out FILE or --html FILE writes all of them")
    for line in found.others[:SHOWN]:
        say(out, f"    differs: {line}")
    if markdown is not None:
        write_text_atomically(markdown, comparison.comparison_markdown(found))
        say(out, f"comparison: {markdown}")
    if html is not None:
        from seethrough.reports.comparison.page import comparison_page  # loads the templates' language

        write_text_atomically(html, comparison_page(found))
        say(out, f"comparison: {html}")
    if found.changed("leaks more"):
        raise SystemExit(REFUTED)
    if found.is_open:
        raise SystemExit(INCONCLUSIVE)


def _check_free(option: str, file: Path | None) -> None:
    """Raises: InputError, for a file that cannot be written, or would replace one."""
    if file is not None and not file.resolve().parent.is_dir():
        raise InputError(f"{option}: {file}: found no folder {file.parent}; allowed: a file in a folder that exists.")
    if file is not None and os.path.lexists(file):
        raise InputError(f"{option}: {file}: found a file or folder of this name; allowed: a name that is free.")


def _report_of(directory: Path) -> "Report":
    from seethrough.reports.report import read_report

    from ..cells.finished import finished_cells, read_manifest
    from ..cells.store import Store

    store = Store(directory)
    manifest = read_manifest(store)
    return read_report(manifest, finished_cells(store, manifest, err))
