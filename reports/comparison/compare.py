"""Numbers of two runs, paired by the batch that was attacked.

Two runs with the same seed attack the same batches, if the setting is the same. So each batch gives a difference; what is said
to leak more or less is so at 5 % for all findings of the comparison together (`significance.py`).
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..findings.grid import FAULTS, Reading, grouped
from ..findings.intervals import Estimate, finite, gain_of, leak_of, number_of, value_of
from ..headline import failed_control
from ..report import Report
from ..row import Described, Manifest, Score
from .counterparts import counterparts
from .significance import Chance, Path, chances

Change = Literal[
    "leaks more",
    "leaks less",
    "not comparable",
    "too few batches",
    "no difference shown",
    "the same",
    "measured in neither",
]
CHANGES: tuple[Change, ...] = get_args(Change)  # the one to look at first coming first
LEVEL = 0.05
ROUNDING = 1e-9  # relative to the largest value; less is the same
SHOWN = 40  # characters of a version or a hash
Pair = tuple[int, Score, Score]  # the trial, and its scores in both runs


@dataclass(frozen=True)
class Difference:
    """One metric of one attack through one defense in both runs."""

    path: Path  # setting, threat, defense, attack, metric
    change: Change
    first: Estimate | None  # the attacker's score
    second: Estimate | None
    more: Estimate | None  # by how much more leaks in the second, over the batches of both
    p: float | None  # among all findings that are compared; None where there is no test
    reason: str = ""  # why it cannot be compared, or what the second run lost


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side."""

    names: tuple[str, str]
    differences: tuple[Difference, ...]  # in the order of the first run, then what only the second has
    others: tuple[str, ...]  # what else differs: the code, libraries, the machine
    unsound: tuple[str, ...] = ()  # what speaks against all numbers of a run

    def changed(self, change: Change) -> tuple[Difference, ...]:
        """The differences of one kind."""
        return tuple(each for each in self.differences if each.change == change)

    @property
    def is_open(self) -> bool:
        """Whether it is not known if more leaks."""
        unknown = any(each.change in ("not comparable", "too few batches") for each in self.differences)
        return unknown or bool(self.unsound) or not self.differences


def ordered(found: Comparison) -> tuple[Difference, ...]:
    """All numbers, those to look at first coming first."""
    return tuple(sorted(found.differences, key=lambda each: CHANGES.index(each.change)))


def compare(first: Report, second: Report) -> Comparison:
    """What the second run says that the first did not."""
    renamed = counterparts(first.manifest, second.manifest)
    ours = grouped(first.readings)
    theirs = {
        (setting, threat, renamed.get(defense, defense), *rest): readings
        for (setting, threat, defense, *rest), readings in grouped(second.readings).items()
    }
    paths = tuple(dict.fromkeys((*ours, *theirs)))
    reasons = {
        path: _why_not(path, first.manifest, second.manifest)
        if path in ours and path in theirs
        else f"only in the {'first' if path in ours else 'second'} run"
        for path in paths
    }
    pairs = {path: [] if reasons[path] else _paired(ours[path], theirs[path]) for path in paths}
    changes = {path: _changes(pairs[path]) for path in paths}
    by_chance = chances(changes)
    found = tuple(
        _difference(path, pairs[path], changes[path], by_chance.get(path), _lost(ours[path], theirs[path]))
        if pairs[path]
        else _unmeasured(path, reasons[path], ours.get(path, []), theirs.get(path, []))
        for path in paths
    )
    held = {path[2] for path in paths if pairs[path]}
    compared = (f"compared with each other: {one} and {other}" for other, one in renamed.items() if one in held)
    changed = (
        f"the plan of the {which} run: {change}"
        for which, report, other in (("first", first, second), ("second", second, first))
        for change in report.plan_changes
        if change not in other.plan_changes
    )
    others = (*changed, *compared, *_others(first.manifest, second.manifest))
    unsound = tuple(
        f"in the {which} run: {failed}"
        for which, report in (("first", first), ("second", second))
        if (failed := failed_control(report.blocks))
    )
    return Comparison((first.manifest.name, second.manifest.name), found, others, unsound)


def _why_not(path: Path, first: Manifest, second: Manifest) -> str:
    """Why the two runs did not measure the same at that place; empty where they did."""
    if first.seed != second.seed:
        return f"seed {first.seed} and {second.seed}: other batches"
    setting, threat, *_, metric = path
    for kind, name, ours, theirs in (
        ("setting", setting, first.settings, second.settings),
        ("threat model", threat, first.threats, second.threats),
        ("metric", metric, first.metrics, second.metrics),
    ):
        one, other = _facts(ours, name), _facts(theirs, name)
        if one != other:
            changed = [fact for fact in other if fact not in one] or [fact for fact in one if fact not in other]
            return f"another {kind} of that name: {'; '.join(changed)}"
    for artifact, words in (
        (f"data of {setting}", "other data"),
        (f"weights of {metric}", f"other weights of {metric}"),
    ):
        if dict(first.hashes).get(artifact) != dict(second.hashes).get(artifact):
            return words
    return ""


def _facts(parts: Sequence[Described], name: str) -> tuple[str, ...]:
    return next((part.facts for part in parts if part.name == name), ())


def _paired(ours: Sequence[Reading], theirs: Sequence[Reading]) -> list[Pair]:
    """The scores of both runs of each trial that both have measured."""
    known = {reading.place.trial: reading.score for reading in theirs if _is_measured(reading)}
    return [
        (reading.place.trial, reading.score, other)
        for reading in ours
        if _is_measured(reading) and reading.score is not None and (other := known.get(reading.place.trial)) is not None
    ]


def _is_measured(reading: Reading) -> bool:
    return reading.state == "ok" and reading.score is not None and finite(reading.score.value)


def _changes(pairs: Sequence[Pair]) -> dict[int, float]:
    """By trial, how much more leaks in the second run, in units of the largest value; what is rounding is nothing."""
    scale = max((abs(number_of(score.value)) for _, *both in pairs for score in both), default=0.0) or 1.0
    changes = {
        trial: gain_of(two, number_of(two.value) / scale, number_of(one.value) / scale) for trial, one, two in pairs
    }
    return {trial: 0.0 if abs(change) <= ROUNDING else change for trial, change in changes.items()}


def _lost(ours: Sequence[Reading], theirs: Sequence[Reading]) -> str:
    """What the second run has no number of, though the first one has; empty where there is nothing."""
    states = {reading.place.trial: "ok" if _is_measured(reading) else reading.state for reading in theirs}
    lost = Counter(states.get(each.place.trial, "not planned") for each in ours if _is_measured(each))
    measured = lost.pop("ok", 0)
    if not lost:
        return ""
    named = ", ".join(f"{count} {state}" for state, count in lost.items())
    return f"of {measured + lost.total()} batches of the first run, {named} in the second"


def _states(readings: Sequence[Reading]) -> str:
    """What there is in the place of numbers, in words; empty where each trial has one."""
    counts = Counter(reading.state for reading in readings if not _is_measured(reading))
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _unmeasured(path: Path, reason: str, ours: Sequence[Reading], theirs: Sequence[Reading]) -> Difference:
    """What is said where no batch has a number in both runs."""
    first, second = _states(ours), _states(theirs)
    same = {each.state for each in ours} == {each.state for each in theirs}
    broken = any(reading.state in FAULTS for reading in (*ours, *theirs))
    if not reason and same and not broken:
        return Difference(path, "measured in neither", None, None, None, None, first)
    said = reason or f"in the first run {first or 'measured'}, in the second {second or 'measured'}"
    return Difference(path, "not comparable", None, None, None, None, said)


def _difference(
    path: Path, pairs: Sequence[Pair], changes: dict[int, float], chance: Chance | None, lost: str
) -> Difference:
    first, second = [one for _, one, _ in pairs], [other for *_, other in pairs]
    more = leak_of(second, [score.value for score in first])
    change: Change = "the same"
    if chance is not None and chance.p <= LEVEL:
        change = "leaks more" if sum(changes.values()) > 0 else "leaks less"
    elif chance is not None:
        change = "too few batches" if chance.least > LEVEL else "no difference shown"
    if lost and change != "leaks more":
        change = "not comparable"
    return Difference(path, change, value_of(first), value_of(second), more, None if chance is None else chance.p, lost)


def _others(first: Manifest, second: Manifest) -> tuple[str, ...]:
    """What else is not the same: versions, the machine, hashes, and lines of the spec."""
    said = []
    for ours, theirs in ((first.versions, second.versions), (first.hashes, second.hashes)):
        one, other = dict(ours), dict(theirs)
        said += [
            f"{name}: {one.get(name, 'none')[:SHOWN]} and {other.get(name, 'none')[:SHOWN]}"
            for name in dict.fromkeys((*one, *other))
            if one.get(name) != other.get(name)
        ]
    lines = difflib.unified_diff(first.spec.splitlines(), second.spec.splitlines(), lineterm="", n=0)
    return (*said, *(f"spec {line}" for line in lines if line[:3] not in ("---", "+++") and line[:2] != "@@"))
