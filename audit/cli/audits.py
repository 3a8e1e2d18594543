"""The commands that make an audit: run, plan, new, import, list, schema."""

import json
import os
import sys
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seethrough.common.console import say, warn, working
from seethrough.common.errors import InputError
from seethrough.common.files import write_bytes_atomically

from ..device import Device
from .results import IncludePrivate, Standards
from .shell import FAILED, app, err, interrupted, out, stop
from .shown import show, show_shard

EntryKind = Literal["attacks", "defenses", "models", "weights", "data", "metrics"]
Sent = Literal["weights", "step", "gradients"]  # `Kind` of a recording, whose module loads torch


@app.command()
def run(
    spec: Annotated[
        Path | None, typer.Argument(help="The audit, a YAML file; without it, the built-in default audit.")
    ] = None,
    directory: Annotated[Path, typer.Option("--out", help="Folder of the results; the same folder resumes.")] = Path(
        "audit-results"
    ),
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Worker processes; 0 means one for each core, or one with a GPU; of a scheduler, all."
        ),
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
    include_private: IncludePrivate = False,
    standards: Standards = None,
    cell_timeout: Annotated[
        str | None, typer.Option(help="What a cell may take, such as 90 (seconds), 10m or 2h; then it is failed.")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help="What a worker may take of main memory, such as 2GB; then its cell is failed.")
    ] = None,
    tries: Annotated[
        int, typer.Option(min=1, help="How often a cell is tried that costs its worker, whatever ended it.")
    ] = 1,
    shard: Annotated[
        str | None,
        typer.Option(help="Compute one part of the cells, such as 3/20, in a folder of its own; see `merge`."),
    ] = None,
    replaces: Annotated[
        bool, typer.Option("--replace", help="Leave out what the folder holds of another audit; the page will say so.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="Who computes: local (processes of this machine) or dask (a cluster).")
    ] = "local",
    scheduler: Annotated[
        str | None, typer.Option(help="With --engine dask: the address of a scheduler; without it, workers are local.")
    ] = None,
) -> None:
    """Run an audit, or go on with one, and write its tables and its report."""
    from seethrough.reports.report import read_report

    from ..api import default_spec
    from ..cells.finished import is_run
    from ..cells.limits import limits_from
    from ..cells.runner import RunError
    from ..cells.shards import shard_from
    from ..engine import engine_from
    from ..run import run_audit
    from ..specification.file import load_spec
    from ..standards import load_standards

    added = () if standards is None else load_standards(standards)
    limits, part = limits_from(cell_timeout, memory_limit, tries), None if shard is None else shard_from(shard)
    chosen = engine_from(engine, scheduler)
    audit = default_spec() if spec is None else load_spec(spec)
    try:
        manifest, cells = run_audit(
            *(
                audit,
                directory,
                out,
                err,
                workers,
                threads,
                device,
                retry_failed,
                policy,
                include_private,
                limits,
                part,
            ),
            engine=chosen,
            replaces=replaces,
            added=added,
        )
    except KeyboardInterrupt:
        kept = "what is finished is kept, and the same command goes on from there"
        nothing = f"nothing was written to {directory} yet, and the same command starts anew"
        interrupted(f"interrupted; {kept if is_run(directory) else nothing}")
    except RunError as error:
        stop(str(error), FAILED)
    report = read_report(manifest, cells)
    if part is None:
        show(report, directory)
    else:
        show_shard(report, directory, part)


@app.command()
def plan(
    spec: Annotated[
        Path | None, typer.Argument(help="The audit, a YAML file; without it, the built-in default audit.")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Compute one trial of each combination for its time.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes, as for `run`.")] = 0,
    device: Annotated[Device, typer.Option(help="Where attacks would run, as for `run`.")] = "auto",
) -> None:
    """Say what an audit will take, and what its batches could show; nothing is kept."""
    from ..api import default_spec
    from ..forecast import forecast
    from ..specification.file import load_spec

    audit = default_spec() if spec is None else load_spec(spec)
    with working(err, "reading data, preparing models"):
        said = forecast(audit, rehearse, workers, device=device)
    for sentence in said:
        say(out, sentence)


@app.command(name="list")
def list_entries(
    kind: Annotated[EntryKind | None, typer.Argument(help="Which kind; all of them if left out.")] = None,
) -> None:
    """List what can stand in a spec, with parameters."""
    from ..specification.kinds import KINDS, problems
    from ..specification.listing import listing

    for problem in problems():
        warn(err, problem)
    for name in [kind] if kind else KINDS:
        out.print(listing(name))


@app.command(name="import")
def import_files(
    files: Annotated[
        list[Path], typer.Argument(help="The weights before, and what was sent: .pt, .safetensors or .npz.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="The recording to write, a folder.")],
    sent: Annotated[Sent, typer.Option(help="What the second file holds.")] = "weights",
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
    from ..recordings.importing import imported

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
    say(out, f"wrote {folder}; make a spec for it with: seethrough new --recording {folder} audit.yaml")


class Preset(str, Enum):
    """Specs to start from."""

    UPDATE = "update"
    CROSS_SILO = "cross-silo"
    CROSS_DEVICE = "cross-device"
    PHOTOGRAPHS = "photographs"


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    recording: Annotated[Path | None, typer.Option(help="A folder of recordings that the spec is to attack.")] = None,
    preset: Annotated[
        Preset,
        typer.Option(
            help="Which one: a single update, rounds of institutions or of many small devices, or photographs."
        ),
    ] = Preset.UPDATE,
) -> None:
    """Write a commented spec to start from."""
    if recording is not None and preset != Preset.UPDATE:
        raise InputError(f"new: found --preset {preset.value} beside --recording; allowed: one of them.")
    if os.path.lexists(file):
        raise InputError(f"{file}: found a file of this name; allowed: a name that is free.")
    if not file.resolve().parent.is_dir():
        raise InputError(f"{file}: found no folder {file.parent}; allowed: a folder that exists.")
    write_bytes_atomically(file, _starter(recording, preset, file).encode())
    say(out, f"wrote {file}; run it with: seethrough run {file}")


def _starter(recording: Path | None, preset: Preset, file: Path) -> str:
    if recording is None:
        return (files("seethrough.audit") / "presets" / f"{preset.name.lower()}.yaml").read_text(encoding="utf-8")
    from ..recordings.starter import starter_for

    return starter_for(str(recording), file)


@app.command()
def schema(
    of: Annotated[Literal["spec", "report"], typer.Argument(help="Of a spec, or of a run's report.json.")] = "spec",
) -> None:
    """Print a JSON Schema: of a spec, for editors, or of report.json, for programs that read it."""
    sys.stdout.write(json.dumps(_schema_of(of), indent=2) + "\n")


def _schema_of(document: str) -> dict[str, Any]:
    if document == "report":
        from seethrough.reports.digest import digest_schema

        return digest_schema()
    from ..specification.schema import AuditSpec

    return AuditSpec.model_json_schema()
