"""The command line."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seethrough.common.errors import InputError
from seethrough.common.files import write_bytes_atomically
from seethrough.reports import Cell, Manifest, Told, refuted, summary, told_labels, write_reports
from seethrough.reports.gate import judge_policy
from seethrough.reports.report import read_report

from .api import default_spec
from .cells.runner import RunError
from .cells.store import Store
from .policy import is_fixed, load_policy
from .recordings.format import Kind
from .recordings.importing import imported
from .recordings.starter import starter_for
from .run import Device, failed_cells, finished_cells, read_manifest, run_audit
from .specification.error_messages import SpecError
from .specification.file import load_spec
from .specification.kinds import KINDS, problems
from .specification.listing import listing
from .specification.schema import AuditSpec

SHOWN = 20  # trials whose labels are printed
FAILED, USAGE, REFUTED, INCONCLUSIVE, INTERRUPTED = 1, 2, 3, 4, 130
EntryKind = Literal["attacks", "defenses", "models", "weights", "data", "metrics"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How much private training data does a federated-learning server see? Attacks against defenses, in numbers.",
)
out = Console()
err = Console(stderr=True)


@app.command()
def run(
    spec: Annotated[
        Path | None, typer.Argument(help="The audit, a YAML file; without it, the built-in default audit.")
    ] = None,
    directory: Annotated[Path, typer.Option("--out", help="Folder of the results; the same folder resumes.")] = Path(
        "audit-results"
    ),
    workers: Annotated[
        int, typer.Option(min=0, help="Worker processes; 0 means one for each core, or one with a GPU.")
    ] = 0,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads in each worker; another number gives other rounding.")
    ] = 1,
    device: Annotated[
        Device, typer.Option(help="Where attacks run; auto takes a CUDA device if there is one.")
    ] = "auto",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Compute failed cells once more.")] = False,
    policy: Annotated[
        str, typer.Option(help="What `check` will hold the run against; fixed before the first cell.")
    ] = "",
) -> None:
    """Run an audit, or go on with one, and write its tables and its report."""
    audit = default_spec() if spec is None else load_spec(spec)
    try:
        manifest, cells = run_audit(audit, directory, out, err, workers, threads, device, retry_failed, policy)
    except KeyboardInterrupt:
        _stop("interrupted; what is finished is kept, and the same command goes on from there", INTERRUPTED)
    _show(manifest, cells, directory)


@app.command()
def report(directory: Annotated[Path, typer.Argument(help="A folder that `seethrough run` wrote.")]) -> None:
    """Write the tables and the report of a finished or interrupted run anew."""
    store = Store(directory)
    manifest = read_manifest(store)
    with store.lock():
        cells = finished_cells(store, manifest, err)
        write_reports(directory, manifest, cells)
    _show(manifest, cells, directory)


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="A folder that `seethrough run` wrote.")],
    policy: Annotated[str, typer.Option(help="strict, research, or a YAML file of your own.")] = "strict",
) -> None:
    """Hold a run against a policy: exit code 0 where it is met, 3 where it is violated, 4 where that is not known."""
    chosen, digest = load_policy(policy)
    store = Store(directory)
    manifest = read_manifest(store)
    found = judge_policy(chosen, read_report(manifest, finished_cells(store, manifest, err)))
    before = "was fixed before" if is_fixed(manifest, chosen, digest) else "was not fixed before"
    out.print(
        f"policy {chosen.name}, SHA-256 {digest[:12]}, {before} the run's first cell", markup=False, soft_wrap=True
    )
    for each in found:
        out.print(f"{each.outcome}: {each.rule.name} ({each.rule.severity})", markup=False, soft_wrap=True)
        for evidence in each.evidence[:SHOWN]:
            out.print(f"    {evidence.outcome}: {evidence.words}", markup=False, soft_wrap=True)
        if len(each.evidence) > SHOWN:
            out.print(f"    and {len(each.evidence) - SHOWN} more", markup=False)
    outcomes = {each.outcome for each in found}
    if outcomes != {"met"}:
        raise SystemExit(REFUTED if "violated" in outcomes else INCONCLUSIVE)


@app.command(name="list")
def list_entries(
    kind: Annotated[EntryKind | None, typer.Argument(help="Which kind; all of them if left out.")] = None,
) -> None:
    """List what can stand in a spec, with parameters."""
    for problem in problems():
        err.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for name in [kind] if kind else KINDS:
        out.print(listing(name))


@app.command(name="import")
def import_files(
    files: Annotated[
        list[Path], typer.Argument(help="The weights before, and what was sent: .pt, .safetensors or .npz.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="The recording to write, a folder.")],
    sent: Annotated[Kind, typer.Option(help="What the second file holds.")] = "weights",
    examples: Annotated[int | None, typer.Option(help="How many examples are behind the update.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="How the client trained: a YAML file, or YAML in braces, as `local` of a spec.")
    ] = None,
    client: Annotated[str, typer.Option(help="Whose update it is.")] = "client",
    round: Annotated[int, typer.Option(help="Of which round.")] = 1,
    shape: Annotated[str | None, typer.Option(help="channels,height,width of one input.")] = None,
    classes: Annotated[int | None, typer.Option(help="The number of classes.")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="The client's examples, for scores: an .npz of images and labels.")
    ] = None,
) -> None:
    """Make a recording of an update that somebody's client sent, fit to be attacked by `run`."""
    imported(
        files,
        folder,
        sent=sent,
        examples=examples,
        recipe=recipe,
        client=client,
        round=round,
        shape=shape,
        classes=classes,
        truth=truth,
    )
    out.print(
        f"wrote {folder}; make a spec for it with: seethrough new --recording {folder} audit.yaml",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    recording: Annotated[Path | None, typer.Option(help="A folder of recordings that the spec is to attack.")] = None,
) -> None:
    """Write a commented spec to start from."""
    if os.path.lexists(file):
        raise SpecError((f"{file}: found a file of this name; allowed: a name that is free.",))
    if not file.resolve().parent.is_dir():
        raise SpecError((f"{file}: found no folder {file.parent}; allowed: a folder that exists.",))
    text = _built_in("starter.yaml") if recording is None else starter_for(str(recording), file)
    write_bytes_atomically(file, text.encode())
    out.print(f"wrote {file}; run it with: seethrough run {file}", markup=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    sys.stdout.write(json.dumps(AuditSpec.model_json_schema(), indent=2) + "\n")


def main() -> None:
    """The command `seethrough`.

    Exit codes: 0 done, 1 a cell failed or the run broke off, 2 bad input, 3 a guarantee was refuted or a policy violated, 4
    whether a policy is met is not known, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except InputError as error:
        _stop(str(error), USAGE)
    except (RunError, OSError) as error:
        _stop(str(error), FAILED)


def _terminated(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _stop(message: str, code: int) -> None:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(code)


def _built_in(name: str) -> str:
    return (files("seethrough.audit") / name).read_text(encoding="utf-8")


def _show_labels(told: Sequence[Told]) -> None:
    for each in told[:SHOWN]:
        said = f"{each.client}, {each.place.attack} through {each.place.defense}: found {each.words}"
        out.print(said, markup=False, soft_wrap=True)
    if len(told) > SHOWN:
        out.print(f"and labels of {len(told) - SHOWN} more in labels.csv", markup=False)


def _show(manifest: Manifest, cells: list[Cell], directory: Path) -> None:
    for grid in summary(manifest, cells):
        table = Table(title=escape(f"{grid.setting}; {grid.threat}"), title_justify="left")
        for heading in ("defense", "attack", "finding (value vs a guesser's)"):
            table.add_column(heading, overflow="fold")
        for position, defense in enumerate(grid.defenses):
            table.add_section()
            for row in grid.rows:
                cell, named = row.cells[position], escape(defense) if row is grid.rows[0] else ""
                table.add_row(
                    named,
                    escape(row.attack),
                    escape(f"{cell.standing}: {cell.text}" if cell.text else f"{cell.standing}"),
                )
        out.print(table)
    _show_labels(told_labels(manifest, cells))
    out.print(f"tables: {directory / 'results.csv'}, {directory / 'results.md'}", markup=False, soft_wrap=True)
    out.print(f"report: {directory / 'index.html'}", markup=False, soft_wrap=True)
    contradiction = refuted(manifest, cells)
    if contradiction:
        _stop(contradiction, REFUTED)
    failed = failed_cells(cells)
    if failed:
        _stop(
            f"{failed} of {len(cells)} cells failed; the report names them, --retry-failed computes them again", FAILED
        )
