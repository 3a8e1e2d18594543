"""One line for each defense, for who reads nothing else: what leaks through it, how much at worst, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from .findings.claims import Promise, bound
from .findings.defense_verdicts import RANDOM_UPDATE, Fate, fate, tried
from .findings.grid import Block, Finding, Standing, overall
from .findings.intervals import Estimate
from .findings.utility import Trained
from .recommendation import Severity, advice, severity_of

LABELS, PICTURES = ("label_accuracy", "cohort_labels"), ("identifiability",)
NOT_MEASURED = "not measured"
SAID: dict[Standing, str] = {
    "told apart": "something came through, but nothing that helps a guesser",
    "inconclusive": "not known with so few batches",
    "no power": "cannot be told from this update",
}
"""What is said of the gravest standing where nothing leaked and not all is at the floor."""


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
    severity: Severity
    advice: str


def defense_lines(
    blocks: Sequence[Block], promises: Sequence[Promise], trained: Sequence[Trained]
) -> tuple[DefenseLine, ...]:
    """One line for each setting, threat model and defense, in the order of the spec; none for the negative control."""
    claimed = {(each.setting, each.defense): each for each in promises}
    costs = {(each.setting, each.defense): each for each in trained}
    return tuple(
        _line(block, defense, claimed.get((block.setting, defense)), costs.get((block.setting, defense)))
        for block in blocks
        for defense in block.defenses
        if defense != RANDOM_UPDATE
    )


def _line(block: Block, defense: str, promise: Promise | None, trained: Trained | None) -> DefenseLine:
    said, findings = fate(block, defense), block.of(defense)
    severity = severity_of(said, findings)
    return DefenseLine(
        setting=block.setting,
        threat=block.threat,
        defense=defense,
        fate=said,
        labels=_worst(findings, LABELS, "labels right"),
        pictures=_worst(findings, PICTURES, "pictures picked out"),
        accuracy=None if trained is None else trained.accuracy,
        epsilon=_epsilon(promise, trained),
        severity=severity,
        advice=advice(defense, severity, findings, trained),
    )


def _worst(findings: Sequence[Finding], metrics: Sequence[str], what: str) -> str:
    """The share that leaked most, with its interval, n and guesser; or what there is to say instead."""
    measured = [finding for finding in tried(findings) if finding.metric.partition("(")[0] in metrics]
    leaking = [finding for finding in measured if finding.standing == "leaks"]
    most = max(leaking, key=lambda finding: finding.value.mean if finding.value else 0.0, default=None)
    if most is not None and most.value is not None:
        floor = "" if most.floor is None else f"; {most.guesser}: {_percent(most.floor)}"
        return f"{_percent(most.value.mean)} {_range(most.value)} of {what}, n = {_number_of_batches(most)}{floor}"
    standing = overall(measured)
    if standing == "at the floor":
        known = [each for each in measured if each.value is not None]
        return f"nothing was found, n = {_number_of_batches(min(known, key=_measured_batches))}"
    return NOT_MEASURED if standing is None else SAID.get(standing, "not all was measured")


def _range(share: Estimate) -> str:
    """The interval of a share in percent; without one, the smallest and the largest value."""
    if share.low is None or share.high is None:
        return f"({_percent(share.least)} to {_percent(share.most)})"
    return f"[{_percent(share.low)}, {_percent(share.high)}]"


def _percent(share: float) -> str:
    """Whole percents, and a decimal where these would look like nothing or everything."""
    return f"{share:.0%}" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{share:.1%}"


def _measured_batches(finding: Finding) -> int:
    return 0 if finding.value is None else finding.value.n


def _number_of_batches(finding: Finding) -> str:
    measured = _measured_batches(finding)
    return f"{measured}" if measured == finding.planned else f"{measured} of {finding.planned} planned"


def _epsilon(promise: Promise | None, trained: Trained | None) -> str:
    """Of what was attacked, and of the training whose accuracy stands beside it, where that is another one."""
    if promise is None or not promise.known:
        return "not known yet"
    attacked = ", ".join(bound(claim.epsilon) for claim in promise.claims) or "none"
    if trained is None or not trained.claims:
        return attacked
    whole = bound(max(claim.epsilon for claim in trained.claims))
    return attacked if whole == attacked else f"{attacked} for what was attacked, {whole} for the training"
