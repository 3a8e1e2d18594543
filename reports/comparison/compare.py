"""Numbers of two runs, paired by the batch that was attacked.

Two runs with the same seed attack the same batches, if the setting is the same. So each batch gives a difference, and if the
two runs were alike, either sign would be as likely, in all findings at once: flipping the signs of whole batches gives every
finding the sums that chance would, and the best rank of all findings a distribution that is known (minP, Westfall and Young,
1993). What is said to leak more or less is so at 5 % for all findings of the comparison together.
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..findings.grid import Reading, grouped
from ..findings.intervals import Estimate, finite, leak_of, number_of, value_of
from ..report import Report
from ..row import Described, Manifest, Score

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
LEAST_BATCHES = 6  # 2 of 64 signs are as extreme as six that agree
DRAWS = 9_999
TIE = 1e-9
Path = tuple[str, ...]
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
    reason: str = ""  # why it cannot be compared


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side."""

    names: tuple[str, str]
    differences: tuple[Difference, ...]  # in the order of the first run, then what only the second has
    others: tuple[str, ...]  # what else differs: the code, libraries, the machine

    def changed(self, change: Change) -> tuple[Difference, ...]:
        """The differences of one kind."""
        return tuple(each for each in self.differences if each.change == change)


def compare(first: Report, second: Report) -> Comparison:
    """What the second run says that the first did not."""
    ours, theirs = grouped(first.readings), grouped(second.readings)
    paths = tuple(dict.fromkeys((*ours, *theirs)))
    reasons = {
        path: _why_not(path, first.manifest, second.manifest)
        if path in ours and path in theirs
        else f"only in the {'first' if path in ours else 'second'} run"
        for path in paths
    }
    pairs = {path: [] if reasons[path] else _paired(ours[path], theirs[path]) for path in paths}
    changes = {path: _changes(pairs[path]) for path in paths}
    chances = _chances({path: each for path, each in changes.items() if len(each) >= LEAST_BATCHES})
    unmeasured = {path: [_states(each.get(path, [])) for each in (ours, theirs)] for path in paths if not pairs[path]}
    found = tuple(
        _unmeasured(path, reasons[path], *unmeasured[path])
        if path in unmeasured
        else _difference(path, pairs[path], changes[path], chances.get(path))
        for path in paths
    )
    return Comparison((first.manifest.name, second.manifest.name), found, _others(first.manifest, second.manifest))


def _why_not(path: Path, first: Manifest, second: Manifest) -> str:
    """Why the two runs did not measure the same at that place; empty where they did."""
    if first.seed != second.seed:
        return f"seed {first.seed} and {second.seed}: other batches"
    setting, threat = path[:2]
    for kind, name, ours, theirs in (
        ("setting", setting, first.settings, second.settings),
        ("threat model", threat, first.threats, second.threats),
    ):
        one, other = _facts(ours, name), _facts(theirs, name)
        if one != other:
            changed = [fact for fact in other if fact not in one] or [fact for fact in one if fact not in other]
            return f"another {kind} of that name: {'; '.join(changed)}"
    data = f"data of {setting}"
    if dict(first.hashes).get(data) != dict(second.hashes).get(data):
        return "other data"
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
    """By trial, how much more leaks in the second run."""
    return {trial: _more(one, other) for trial, one, other in pairs}


def _more(first: Score, second: Score) -> float:
    gained = number_of(second.value) - number_of(first.value)
    return gained if second.better == "higher" else -gained


def _chances(changes: dict[Path, dict[int, float]]) -> dict[Path, float]:
    """The probability that chance makes any finding look as different as each of these does."""
    signs: dict[tuple[str, int], np.ndarray] = {}
    ranks, drawn = {}, np.full(DRAWS, DRAWS + 1)
    rng = np.random.default_rng(0)
    for path, by_trial in changes.items():
        largest = max(map(abs, by_trial.values()))
        if largest <= TIE:
            continue
        sums = np.zeros(DRAWS)
        for trial, change in by_trial.items():
            sign = signs.setdefault((path[0], trial), rng.choice((-1.0, 1.0), DRAWS))
            sums += sign * (change / largest)
        extreme, own = np.sort(np.abs(sums)), abs(sum(by_trial.values()) / largest)
        ranks[path] = 1 + DRAWS - int(np.searchsorted(extreme, own - TIE))
        np.minimum(drawn, DRAWS - np.searchsorted(extreme, np.abs(sums) - TIE), out=drawn)
    return {path: float((1 + (drawn < rank).sum()) / (1 + DRAWS)) for path, rank in ranks.items()}


def _states(readings: Sequence[Reading]) -> str:
    """What there is in the place of numbers, in words; empty where each trial has one."""
    counts = Counter(reading.state for reading in readings if not _is_measured(reading))
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _unmeasured(path: Path, reason: str, first: str, second: str) -> Difference:
    """What is said where no batch has a number in both runs."""
    if not reason and first == second:
        return Difference(path, "measured in neither", None, None, None, None, first)
    said = reason or f"in the first run {first or 'measured'}, in the second {second or 'measured'}"
    return Difference(path, "not comparable", None, None, None, None, said)


def _difference(path: Path, pairs: Sequence[Pair], changes: dict[int, float], p: float | None) -> Difference:
    first, second = [one for _, one, _ in pairs], [other for *_, other in pairs]
    more = leak_of(second, [score.value for score in first])
    if all(abs(change) <= TIE for change in changes.values()):
        change: Change = "the same"
    elif p is None:
        change = "too few batches"
    elif p > LEVEL or more is None:
        change = "no difference shown"
    else:
        change = "leaks more" if more.mean > 0 else "leaks less"
    return Difference(path, change, value_of(first), value_of(second), more, p)


def _others(first: Manifest, second: Manifest) -> tuple[str, ...]:
    """What else is not the same: versions, the machine, hashes, and lines of the spec."""
    said = []
    for ours, theirs in ((first.versions, second.versions), (first.hashes, second.hashes)):
        one, other = dict(ours), dict(theirs)
        said += [
            f"{name}: {one.get(name, 'none')} and {other.get(name, 'none')}"
            for name in dict.fromkeys((*one, *other))
            if one.get(name) != other.get(name)
        ]
    lines = difflib.unified_diff(first.spec.splitlines(), second.spec.splitlines(), lineterm="", n=0)
    return (*said, *(f"spec {line}" for line in lines if line[:3] not in ("---", "+++") and line[:2] != "@@"))
