"""One audit, from its spec to the tables and the report in its folder."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from seethrough.common.console import say, warn, working
from seethrough.common.errors import InputError
from seethrough.common.processes import afresh
from seethrough.reports import Cell, Manifest, write_reports
from seethrough.reports.plan_changes import plan_changes
from seethrough.reports.standards import Point

from .case import Case
from .cells.compute import Computation
from .cells.finished import finished_cells
from .cells.job import Job
from .cells.limits import NO_LIMITS, Limits
from .cells.planned import PlannedComputation
from .cells.progress import watching
from .cells.redaction import redact
from .cells.runner import run_in
from .cells.shards import Shard
from .cells.store import DamagedFileError, SchemaMismatchError, Store, pending
from .device import Device, check_device, device_for
from .earlier_plans import with_history
from .engine import LOCAL, Engine, check_engine, pool_of, workers_for
from .plan import Plan, make_plan
from .policy import load_policy, with_policy
from .preparation import prepare_attacks
from .revision import code_revision
from .specification.kinds import problems
from .specification.schema import AuditSpec
from .utility import Training


def run_audit(
    spec: AuditSpec,
    directory: Path,
    out: Console,
    err: Console,
    workers: int = 0,
    threads: int = 1,
    device: Device = "auto",
    retry_failed: bool = False,
    policy: str = "",
    include_private: bool = False,
    limits: Limits = NO_LIMITS,
    shard: Shard | None = None,
    engine: Engine = LOCAL,
    replaces: bool = False,
    added: Sequence[Point] = (),
) -> tuple[Manifest, list[Cell]]:
    """Compute every cell of `spec` that `directory` does not hold yet, and write its reports, after an interruption too.

    `workers` 0 means one for each core, or one with a GPU; of a scheduler, all that it has. `policy`, a file or the name of
    one that is built in, is fixed by its hash before the first cell. Pictures that may show real people are left out of the
    page, unless `include_private`. `limits` are those of each cell; they enter no key, nor does the `engine`. Of a `shard`,
    its cells alone are computed; all are planned. A folder with results of another audit is refused, unless this one
    `replaces` it. The page shows the points of laws and guidelines that are `added`. How far it is goes to `out`, what is
    wrong to `err`. Returns what was planned and the finished cells.

    Raises: InputError, for bad input or a folder that cannot be used; RunError, OSError, if the run cannot go on;
    KeyboardInterrupt.
    """
    _check(directory, workers, threads, device)
    check_engine(engine)
    if policy:
        load_policy(policy)  # a mistake in it is said before anything is written
    for problem in problems():
        warn(err, problem)
    chosen = device_for(device)
    with working(err, "reading data, preparing models"):
        plan = make_plan(spec, chosen, threads)
    for warning in plan.manifest.warnings:
        warn(err, f"privacy misconfigured: {warning}")
    for doubt in plan.manifest.doubts:
        warn(err, f"doubtful recording: {doubt}")
    for limit in plan.manifest.limits:
        warn(err, f"cannot be shown: {limit}")
    store = Store(directory)
    with store.lock():
        earlier = _earlier(store)
        redacted = "" if earlier is None else earlier.redacted
        planned = with_history(plan.manifest, earlier, store, replaces)
        for change in plan_changes(planned):
            warn(err, change)
        if earlier is not None and earlier.keys.isdisjoint(plan.manifest.keys):
            held = f"{directory} held the tables and the page of the audit {earlier.name!r}, which had other cells"
            warn(err, held)
            earlier = None
        manifest = with_policy(planned, earlier, store, policy)
        store.write_manifest(manifest)
        try:
            used = workers or workers_for(chosen, threads, engine)
            _compute(spec, plan, store, out, err, used, threads, chosen, retry_failed, limits, shard, engine)
        finally:
            if redacted:  # what is new goes the same way, and is claimed last
                redact(store)
                manifest = replace(manifest, redacted=redacted)
            cells = finished_cells(store, manifest, err)
            write_reports(directory, manifest, cells, include_private, added)
            if manifest.redacted:
                store.write_manifest(manifest)
    return manifest, cells


def _check(directory: Path, workers: int, threads: int, device: str) -> None:
    """Raises: InputError, before anything is read."""
    for place in (directory, *directory.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"{directory}: found a file, {place}; allowed: a folder, or a name that is free.")
    for name, value, least in (("workers", workers, 0), ("threads", threads, 1)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name}: found {value!r:.60}; allowed: a whole number of at least {least}.")
    check_device(device)


def _earlier(store: Store) -> Manifest | None:
    """What an earlier run planned in the folder, where that can be read."""
    try:
        return store.read_manifest()
    except (FileNotFoundError, NotADirectoryError, DamagedFileError, SchemaMismatchError):
        return None  # what is damaged is moved aside and what is foreign is refused where the manifest is written


def _compute(
    spec: AuditSpec,
    plan: Plan,
    store: Store,
    out: Console,
    err: Console,
    workers: int,
    threads: int,
    device: torch.device,
    retry_failed: bool,
    limits: Limits,
    shard: Shard | None,
    engine: Engine,
) -> None:
    places = plan.manifest.planned
    if shard is not None:
        say(out, f"shard {shard}: {len(shard.of(places))} of {len({place.key for place in places})} cells")
        places = shard.of(places)
    left = pending(places, store, retry_failed)
    for sentence in left.damaged:
        warn(err, sentence)
    done = len({place.key for place in places}) - len(left.todo)
    count = sum(isinstance(plan.cases[place.key], Training) for place in places)
    trainings = f", {count} of them trainings" if count else ""
    failed = f" ({left.failed} failed; --retry-failed computes them again)" if left.failed else ""
    cells = f"{len(places)} cells{trainings}, {done} of them finished before{failed}"
    say(out, f"{plan.manifest.name}: {cells}")
    todo = {place.key: plan.cases[place.key] for place in left.todo}
    compute = Computation(todo, device.type, code_revision(), plan.environment)
    attacked = [case for case in compute.cases.values() if isinstance(case, Case)]
    with working(err, "preparing attacks") as tell:
        for kept in prepare_attacks(attacked, store.directory, tell):
            say(out, kept)
    if not left.todo:
        return
    sent = compute if engine.name == "local" else _as_text(spec, compute)
    job, start = Job(sent, store, threads, plan.manifest.seed, compute.code), afresh(gpu=device.type == "cuda")
    pool = pool_of(engine, job, workers, device, limits, start, partial(warn, err))
    with pool as (workforce, expected), watching(out, left.todo, done, expected) as watch:
        run_in(workforce, left.todo, job, watch, limits)


def _as_text(spec: AuditSpec, compute: Computation) -> PlannedComputation:
    """The computation, for processes that share nothing with this one."""
    return PlannedComputation(spec.text, spec.source, compute.device, compute.code, compute.environment)
