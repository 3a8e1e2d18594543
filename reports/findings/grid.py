"""The grid of the audit: what came of every planned number, and what the trials of one combination say together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from ..row import Cell, Manifest, Place, Score
from .batches import Margins, batches_to_exclude, margin_for
from .evidence import Evidence, chance_of, evidence_of, guessers_of, guesses_by
from .family import Family, Which, family_of, trials_of
from .intervals import Estimate, finite, gain_of, leak_of, leak_over_best, mean_of, value_of
from .text import counted, last_line

Item = TypeVar("Item")

State = Literal["ok", "failed", "nan", "missing", "unavailable", "n/a"]
"""A row's status; `missing` is planned but not computed."""

Standing = Literal[
    "leaks",
    "failed",
    "nan",
    "missing",
    "told apart",
    "inconclusive",
    "at the floor",
    "no power",
    "unavailable",
    "n/a",
]
"""What can be said of a combination, the one to look at first coming first. `leaks`: the update said something, and the
attacker beats every guesser. `told apart`: it said something, and no guesser is beaten. `inconclusive`: with so few batches a
perfect attack could not have been called a leak. `no power`: nor with any number of them."""

OF_COHORTS = ("cohort_labels",)  # metrics whose numbers are of all clients in a sum together
FAULTS: tuple[State, ...] = ("failed", "nan", "missing")  # states in which a number should have been and is not
STANDINGS: tuple[Standing, ...] = get_args(Standing)


@dataclass(frozen=True)
class Reading:
    """One planned number and what came of it."""

    place: Place
    metric: str
    state: State
    note: str = ""
    score: Score | None = None
    cell: Cell | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The combination that it is a trial of: setting, threat, defense, attack and metric."""
        return self.place.setting, self.place.threat, self.place.defense, self.place.attack, self.metric


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
    guesser: str  # the blind guesser that does best on average
    floor: float | None  # what it gets on average
    leak: Estimate | None  # over the best guesser, paired by trial; positive means that the attacker does better
    worst: float | None  # the example that leaked most, over all trials
    planned: int  # trials
    states: tuple[tuple[State, int], ...]  # how many trials have no number, and why
    note: str  # why the gravest of them has none
    remarks: tuple[str, ...]  # what the numbers rest on
    over_decoy: Estimate | None = None  # as `leak`, over the same attack on another batch's update
    chance: float | None = None  # what the reconstructions get, held against other private batches
    evidence: Evidence | None = None
    batches_to_exclude: int | None = None  # about how many would exclude a leak beyond the margin, which these do not


@dataclass(frozen=True)
class Block:
    """All findings of one setting under one threat model."""

    setting: str
    threat: str
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    metrics: tuple[str, ...]
    findings: tuple[Finding, ...]
    margins: tuple[
        tuple[str, float], ...
    ] = ()  # by metric, the leak that must be excluded before a defense is said to hold
    cohorts: tuple[tuple[str, int], ...] = ()  # defenses by secure aggregation, and how many clients are in a sum

    def whose(self, finding: Finding) -> str:
        """Behind a number: whose it is, where it is of all clients in a sum together; empty where it is of one client."""
        if kind_of(finding) not in OF_COHORTS:
            return ""
        clients = dict(self.cohorts).get(finding.defense)
        return f" of the whole cohort{f' of {clients}' if clients else ''}"

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


def read_blocks(
    readings: Sequence[Reading],
    margins: tuple[tuple[str, float], ...] = (),
    cohorts: tuple[tuple[str, int], ...] = (),
) -> tuple[Block, ...]:
    """The findings by setting and threat model, in the order of the spec."""
    directions = {reading.metric: reading.score.better for reading in readings if reading.score is not None}
    groups = grouped(readings)
    family = family_of(trials_of(_measured(group)) for group in groups.values())
    findings = [_finding(path, group, directions.get(path[-1], ""), family, margins) for path, group in groups.items()]
    return tuple(
        _block(setting, threat, [f for f in findings if (f.setting, f.threat) == (setting, threat)], margins, cohorts)
        for setting, threat in unique((finding.setting, finding.threat) for finding in findings)
    )


def grouped(readings: Sequence[Reading]) -> dict[tuple[str, ...], list[Reading]]:
    """The readings of all trials of each combination, by its path."""
    groups: dict[tuple[str, ...], list[Reading]] = {}
    for reading in readings:
        groups.setdefault(reading.path, []).append(reading)
    return groups


def overall(findings: Iterable[Finding]) -> Standing | None:
    """The standing to look at first among `findings`, None without any."""
    return min((finding.standing for finding in findings), key=STANDINGS.index, default=None)


def worst_of(findings: Iterable[Finding]) -> Finding | None:
    """The finding whose number is worst for the client, on average over batches: the highest, or the lowest of a metric where
    less means that more leaked; of equal ones that of most batches. None without a number."""
    known = [
        (each.value.mean * (-1 if each.better == "lower" else 1), each.value.n, each) for each in findings if each.value
    ]
    return max(known, key=lambda one: one[:2])[2] if known else None


def kind_of(finding: Finding) -> str:
    """The metric's name, without its parameters."""
    return finding.metric.partition("(")[0]


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


def _measured(readings: Sequence[Reading]) -> list[tuple[Which, Score]]:
    """The scores with the trial of their setting, on which all that is held against reconstructions is the same."""
    return [
        (Which(each.place.setting, each.place.trial, len(each.score.swapped), each.score.permuted), each.score)
        for each in readings
        if each.state == "ok" and each.score is not None
    ]


def _finding(
    path: tuple[str, ...], readings: Sequence[Reading], better: str, family: Family, margins: Margins
) -> Finding:
    setting, threat, defense, attack, metric = path
    measured = _measured(readings)
    scores, trials = [score for _, score in measured], [trial for trial, _ in measured]
    states = Counter(reading.state for reading in readings if reading.state != "ok")
    worst = [score.worst for score in scores if score.worst is not None and finite(score.worst)]
    evidence, guesser = evidence_of(scores, family, trials), strongest_guesser(scores)
    guesses = guesses_by(scores, guesser)
    known = [guess for guess in guesses if guess is not None]
    chances = [chance for score in scores if (chance := chance_of(score)) is not None]
    gaps = sorted((r for r in readings if r.state != "ok"), key=lambda reading: STANDINGS.index(reading.state))
    leak = leak_over_best(scores, [guesses_by(scores, name) for name in guessers_of(scores)])
    return Finding(
        setting=setting,
        threat=threat,
        defense=defense,
        attack=attack,
        metric=metric,
        standing=_standing(evidence, len(scores), len(readings)) if scores else min(states, key=STANDINGS.index),
        better=better,
        value=value_of(scores),
        guesser=guesser,
        floor=mean_of(known) if known else None,
        leak=leak,
        worst=(min if better == "lower" else max)(worst, default=None),
        planned=len(readings),
        states=tuple(states.items()),
        note=gaps[0].note if gaps else "",
        remarks=_remarks(scores),
        over_decoy=leak_of(scores, [score.decoy for score in scores]),
        chance=mean_of(chances) if chances else None,
        evidence=evidence,
        batches_to_exclude=batches_to_exclude(scores, leak, margin_for(margins, metric)),
    )


def strongest_guesser(scores: Sequence[Score]) -> str:
    """The name of the one blind guesser that does best on average over the trials; empty where nobody guesses."""
    gains = {
        name: [
            gain_of(score, guess, 0.0)
            for score, guess in zip(scores, guesses_by(scores, name), strict=True)
            if guess is not None
        ]
        for name in guessers_of(scores)
    }
    averages = {name: mean_of(known) for name, known in gains.items() if known}
    return max(averages, key=lambda name: averages[name], default="")


def _remarks(scores: Sequence[Score]) -> tuple[str, ...]:
    """What is said beside the scores, each once; in how many trials, where not in all."""
    said = Counter(score.note for score in scores if score.note)
    return tuple(
        remark if times == len(scores) else f"{remark} (in {times} of {counted(len(scores), 'trial')})"
        for remark, times in said.items()
    )


def _standing(evidence: Evidence | None, measured: int, planned: int) -> Standing:
    if evidence is None or 2 * measured < planned:
        return "inconclusive"
    if evidence.tells and evidence.helps:
        return "leaks"
    if not evidence.powered:
        return "no power" if evidence.needs is None else "inconclusive"
    return "told apart" if evidence.tells else "at the floor"


def _block(
    setting: str,
    threat: str,
    findings: Sequence[Finding],
    margins: tuple[tuple[str, float], ...],
    cohorts: tuple[tuple[str, int], ...],
) -> Block:
    return Block(
        setting=setting,
        threat=threat,
        attacks=unique(finding.attack for finding in findings),
        defenses=unique(finding.defense for finding in findings),
        metrics=unique(finding.metric for finding in findings),
        findings=tuple(findings),
        margins=margins,
        cohorts=cohorts,
    )
