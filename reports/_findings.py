"""The grid of the audit: what came of every planned number, and what the trials of one combination say together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from reports._row import Cell, Manifest, Place, Score
from reports._statistics import Estimate, finite, leak_of, over_batches, value_of
from reports._text import last_line

Item = TypeVar("Item")

State = Literal["ok", "failed", "nan", "missing", "unavailable", "n/a"]
"""A row's status; `missing` is planned but not computed."""

Standing = Literal["leaks", "failed", "nan", "missing", "inconclusive", "at the floor", "unavailable", "n/a"]
"""What can be said of a combination, the one to look at first coming first."""

STANDINGS: tuple[Standing, ...] = (
    "leaks",
    "failed",
    "nan",
    "missing",
    "inconclusive",
    "at the floor",
    "unavailable",
    "n/a",
)
SIGN_TEST_TRIALS = 6  # the fewest equal signs that reach 95 % in a two-sided sign test


@dataclass(frozen=True)
class Reading:
    """One planned number and what came of it."""

    place: Place
    metric: str
    state: State
    note: str = ""
    score: Score | None = None
    cell: Cell | None = None


@dataclass(frozen=True)
class Finding:
    """One metric of one attack through one defense, over all trials."""

    setting: str
    threat: str
    defense: str
    attack: str
    metric: str
    standing: Standing
    better: str  # "higher" or "lower", empty where no trial says
    value: Estimate | None
    floor: float | None  # mean over the trials that have one
    leak: Estimate | None  # over the floor, paired by trial; positive means better than a guesser
    worst: float | None  # the example that leaked most, over all trials
    planned: int  # trials
    states: tuple[tuple[State, int], ...]  # how many trials have no number, and why
    note: str  # why the gravest of them has none
    remarks: tuple[str, ...]  # what the numbers rest on
    over_decoy: Estimate | None = None  # as `leak`, over the decoy alone: what of it came from the update


@dataclass(frozen=True)
class Block:
    """All findings of one setting under one threat model."""

    setting: str
    threat: str
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    metrics: tuple[str, ...]
    findings: tuple[Finding, ...]

    def of(self, defense: str, attack: str | None = None, metric: str | None = None) -> tuple[Finding, ...]:
        """The findings through a defense, by an attack and of a metric where these are given."""
        return tuple(
            finding
            for finding in self.findings
            if finding.defense == defense and attack in (None, finding.attack) and metric in (None, finding.metric)
        )


def read_grid(manifest: Manifest, cells: Sequence[Cell]) -> tuple[Reading, ...]:
    """One reading for every planned number, in the order of the spec."""
    by_key = {cell.key: cell for cell in cells}
    metrics = unique(
        [metric.name for metric in manifest.metrics] + [score.metric for cell in cells for score in cell.scores]
    )
    return tuple(_reading(place, metric, by_key.get(place.key)) for place in manifest.places for metric in metrics)


def read_blocks(readings: Sequence[Reading]) -> tuple[Block, ...]:
    """The findings by setting and threat model, in the order of the spec."""
    directions = {reading.metric: reading.score.better for reading in readings if reading.score is not None}
    groups: dict[tuple[str, ...], list[Reading]] = {}
    for reading in readings:
        place = reading.place
        path = (place.setting, place.threat, place.defense, place.attack, reading.metric)
        groups.setdefault(path, []).append(reading)
    findings = [_finding(path, group, directions.get(path[-1], "")) for path, group in groups.items()]
    return tuple(
        _block(setting, threat, [f for f in findings if (f.setting, f.threat) == (setting, threat)])
        for setting, threat in unique((finding.setting, finding.threat) for finding in findings)
    )


def overall(findings: Iterable[Finding]) -> Standing | None:
    """The standing to look at first among `findings`, None without any."""
    return min((finding.standing for finding in findings), key=STANDINGS.index, default=None)


def unique(items: Iterable[Item]) -> tuple[Item, ...]:
    """`items` without repetitions, in order of first appearance."""
    return tuple(dict.fromkeys(items))


def _reading(place: Place, metric: str, cell: Cell | None) -> Reading:
    if cell is None:
        return Reading(place, metric, "missing", "not computed yet")
    if cell.status == "failed":
        return Reading(place, metric, "failed", last_line(cell.note), None, cell)
    if cell.status == "n/a":
        return Reading(place, metric, "n/a", cell.note, None, cell)
    score = next((score for score in cell.scores if score.metric == metric), None)
    if score is None:
        return Reading(place, metric, "missing", "computed, but without this metric", None, cell)
    state = "nan" if score.status == "ok" and not finite(score.value) else score.status
    return Reading(place, metric, state, score.note, score, cell)


def _finding(path: tuple[str, ...], readings: Sequence[Reading], better: str) -> Finding:
    setting, threat, defense, attack, metric = path
    scores = [reading.score for reading in readings if reading.state == "ok" and reading.score is not None]
    value, leak = value_of(scores), leak_of(scores)
    states = Counter(reading.state for reading in readings if reading.state != "ok")
    floors = [score.floor for score in scores if score.floor is not None and finite(score.floor)]
    worst = [score.worst for score in scores if score.worst is not None and finite(score.worst)]
    standing = _standing(leak, len(readings)) if scores else min(states, key=STANDINGS.index)
    gaps = sorted((r for r in readings if r.state != "ok"), key=lambda reading: STANDINGS.index(reading.state))
    return Finding(
        setting=setting,
        threat=threat,
        defense=defense,
        attack=attack,
        metric=metric,
        standing=standing,
        better=better,
        value=value,
        floor=over_batches(floors).mean if floors else None,
        leak=leak,
        worst=(min if better == "lower" else max)(worst, default=None),
        planned=len(readings),
        states=tuple(states.items()),
        note=gaps[0].note if gaps else "",
        remarks=unique(score.note for score in scores if score.note),
        over_decoy=leak_of(scores, "decoy"),
    )


def _standing(leak: Estimate | None, planned: int) -> Standing:
    """What the paired leak over the floor says.

    Without spread there is no interval, and the exact sign test decides in its stead.
    """
    if leak is None or leak.n < 2 or 2 * leak.n < planned:
        return "inconclusive"
    if leak.low is None and leak.mean > 0:
        return "leaks" if leak.n >= SIGN_TEST_TRIALS else "inconclusive"
    return "leaks" if leak.low is not None and leak.low > 0 else "at the floor"


def _block(setting: str, threat: str, findings: Sequence[Finding]) -> Block:
    return Block(
        setting=setting,
        threat=threat,
        attacks=unique(finding.attack for finding in findings),
        defenses=unique(finding.defense for finding in findings),
        metrics=unique(finding.metric for finding in findings),
        findings=tuple(findings),
    )
