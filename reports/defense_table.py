"""One line for each defense, for who reads nothing else: what leaks through it, how much at worst, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from .findings.claims import Promise, bound
from .findings.defense_verdicts import RANDOM_UPDATE, Fate, fate, tried
from .findings.grid import Block, Finding
from .findings.intervals import Estimate
from .findings.utility import Trained

LABELS, PICTURES = ("label_accuracy", "cohort_labels"), ("identifiability",)
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class DefenseLine:
    """What became of one defense in one setting under one threat model."""

    setting: str
    threat: str
    defense: str
    fate: Fate
    labels: str  # in words that need no table
    pictures: str
    accuracy: Estimate | None  # of a model that is trained under it
    epsilon: str


def defense_lines(
    blocks: Sequence[Block], promises: Sequence[Promise], trained: Sequence[Trained]
) -> tuple[DefenseLine, ...]:
    """One line for each setting, threat model and defense, in the order of the spec; none for the negative control."""
    claimed = {(each.setting, each.defense): each for each in promises}
    accuracies = {(each.setting, each.defense): each.accuracy for each in trained}
    return tuple(
        DefenseLine(
            block.setting,
            block.threat,
            defense,
            fate(block, defense),
            _worst(block.of(defense), LABELS, "labels right"),
            _worst(block.of(defense), PICTURES, "pictures picked out"),
            accuracies.get((block.setting, defense)),
            _epsilon(claimed.get((block.setting, defense))),
        )
        for block in blocks
        for defense in block.defenses
        if defense != RANDOM_UPDATE
    )


def _worst(findings: Sequence[Finding], metrics: Sequence[str], what: str) -> str:
    """The greatest share that leaked, beside what a guesser has; or why none is named."""
    measured = [finding for finding in tried(findings) if finding.metric.partition("(")[0] in metrics]
    leaking = [finding for finding in measured if finding.standing == "leaks" and finding.leak is not None]
    if leaking:
        most = max(leaking, key=lambda finding: finding.leak.mean if finding.leak else 0.0)
        value, floor = most.value.mean if most.value else 0.0, most.floor or 0.0
        return f"{value:.0%} of {what}; a guesser has {floor:.0%}"
    if not measured:
        return NOT_MEASURED
    if all(finding.standing in ("at the floor", "no power") for finding in measured):
        powered = any(finding.standing == "at the floor" for finding in measured)
        return "no more than a guesser has" if powered else "cannot be told from this update"
    return "not known with so few batches"


def _epsilon(promise: Promise | None) -> str:
    if promise is None or not promise.claims:
        return "none"
    return ", ".join(bound(claim.epsilon) for claim in promise.claims)
