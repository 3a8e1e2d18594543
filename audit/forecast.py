"""What an audit will take: cells, hours, and what its batches could show at best; said before anything is kept."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from seethrough.reports import Manifest, Place
from seethrough.reports.findings.text import counted, last_line

from .device import Device, device_for
from .engine import workers_for
from .plan import make_plan
from .run import run_audit
from .specification.schema import AuditSpec

Pace = dict[tuple[str, ...], float]  # seconds of a cell, by setting, threat model, defense and attack


def forecast(
    spec: AuditSpec, rehearse: bool, workers: int = 0, threads: int = 1, device: Device = "auto"
) -> tuple[str, ...]:
    """One sentence each on cells, power and time. With `rehearse` one trial of every combination is computed, and thrown away,
    since only so the pace of this machine is known.

    Raises: as `run_audit`.
    """
    chosen = device_for(device)
    manifest = make_plan(spec, chosen, threads).manifest
    said = [*_cells(manifest), *manifest.limits]
    if not manifest.limits:
        said.append("Each metric could show a leak with these batches, if an attack recovered all.")
    if not rehearse:
        return (
            *said,
            "How long it takes is not known before it is tried: --rehearse computes one trial of each combination.",
        )
    pace, failed = _rehearsed(spec, workers, threads, device)
    seconds = sum(pace.get(_path(place), 0.0) for place in manifest.places + manifest.trainings)
    used = workers or workers_for(chosen, threads)
    said.append(
        f"About {_duration(seconds / used)} on {counted(used, 'worker')}, by one trial of each combination on this machine; "
        "more where other work goes on."
    )
    return (*said, *failed)


def _cells(manifest: Manifest) -> list[str]:
    by_attack = Counter(place.attack for place in manifest.places)
    named = ", ".join(f"{count} of {attack}" for attack, count in by_attack.items())
    trainings = f", and {counted(len(manifest.trainings), 'training')}" if manifest.trainings else ""
    return [f"{manifest.name}: {counted(len(manifest.places), 'cell')} ({named}){trainings}."]


def _rehearsed(spec: AuditSpec, workers: int, threads: int, device: Device) -> tuple[Pace, list[str]]:
    """The pace of each combination, and a sentence for each that failed."""
    utility = None if spec.utility is None else spec.utility.model_copy(update={"repeats": 1})
    small = spec.model_copy(update={"trials": 1, "label_trials": 1, "utility": utility})
    silent = Console(quiet=True)
    with TemporaryDirectory() as folder:
        manifest, cells = run_audit(small, Path(folder), silent, silent, workers, threads, device)
    by_key = {cell.key: cell for cell in cells}
    found = [(place, by_key[place.key]) for place in manifest.places + manifest.trainings if place.key in by_key]
    failed = [
        f"Failed in the rehearsal: {place.attack} through {place.defense}: {last_line(cell.note)}"
        for place, cell in found
        if cell.status == "failed"
    ]
    return {_path(place): cell.seconds for place, cell in found}, failed


def _path(place: Place) -> tuple[str, ...]:
    return place.setting, place.threat, place.defense, place.attack


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
