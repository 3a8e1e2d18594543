"""One audit, from its spec to the tables and the report in its folder."""

import os
from collections.abc import Sequence
from dataclasses import replace
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
from .cells.limits import NO_LIMITS, Limits
from .cells.progress import watching
from .cells.redaction import redact
from .cells.runner import run_cells
from .cells.shards import Shard
from .cells.store import DamagedFileError, SchemaMismatchError, Store, pending
from .device import Device, check_device, device_for
from .earlier_plans import with_history
from .manifest import code_revision
from .plan import Plan, make_plan
from .policy import load_policy, with_policy
from .preparation import prepare_attacks
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
    replaces: bool = False,
    added: Sequence[Point] = (),
) -> tuple[Manifest, list[Cell]]:
    """Compute every cell of `spec` that `directory` does not hold yet, and write its reports, after an interruption too.

    `workers` 0 means one for each core, or one with a GPU. `policy`, a file or the name of one that is built in, is fixed by
    its hash before the first cell. Pictures that may show real people are left out of the page, unless `include_private`.
    `limits` are those of each cell; they enter no key. Of a `shard`, its cells alone are computed; all are planned. A folder
    with results of another audit is refused, unless this one `replaces` it. The page shows the points of laws and guidelines
    that are `added`. How far it is goes to `out`, what is wrong to
    `err`. Returns what was planned and the finished cells.

    Raises: InputError, for bad input or a folder that cannot be used; RunError, OSError, if the run cannot go on;
    KeyboardInterrupt.
    """
    _check(directory, workers, threads, device)
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
        if earlier is not None and not _share_cells(earlier, plan.manifest):
            held = f"{directory} held the tables and the page of the audit {earlier.name!r}, which had other cells"
            warn(err, held)
            earlier = None
        manifest = with_policy(planned, earlier, store, policy)
        store.write_manifest(manifest)
        try:
            used = workers or workers_for(chosen, threads)
            _compute(plan, store, out, err, used, threads, chosen, retry_failed, limits, shard)
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


def _share_cells(first: Manifest, second: Manifest) -> bool:
    keys = [{place.key for place in each.places + each.trainings} for each in (first, second)]
    return not keys[0].isdisjoint(keys[1])


def workers_for(device: torch.device, threads: int) -> int:
    """As many workers as cores allow with so many threads each; one on a GPU."""
    return 1 if device.type == "cuda" else max(1, len(os.sched_getaffinity(0)) // threads)


def _compute(
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
) -> None:
    places = plan.manifest.places + plan.manifest.trainings
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
    with watching(out, left.todo, done, workers) as watch:
        start = afresh(gpu=device.type == "cuda")
        seed = plan.manifest.seed
        run_cells(left.todo, compute, store, workers, threads, watch, seed, compute.code, start, limits)
