"""One line for each defense, for who reads nothing else: what leaks through it, how much at worst, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .findings.claims import Promise, bound
from .findings.defense_verdicts import RANDOM_UPDATE, Fate, batches_that_decide, false_alarms, fate, tried
from .findings.grid import Block, Finding, Standing, overall
from .findings.intervals import Estimate
from .findings.recoveries import Recovered
from .findings.text import interval, number
from .findings.utility import Trained
from .recommendation import IMAGES, IN_COMMON, LABELS, Severity, advice, kind_of, severity_of

LABEL_SHARES, PICTURE_SHARES = ("label_accuracy", "cohort_labels"), ("identifiability",)
REFUTED = "Its guarantee is refuted by what came back: rely on no bound of this run."
UNCONTROLLED = "Trust nothing here before the negative control holds."
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
    batches_needed: int | None = None  # about how many would decide it, where it is undecided and some number would


def defense_lines(
    blocks: Sequence[Block],
    promises: Sequence[Promise],
    trained: Sequence[Trained],
    recovered: Sequence[Recovered] = (),
) -> tuple[DefenseLine, ...]:
    """One line for each setting, threat model and defense, in the order of the spec; none for the negative control."""
    claimed = {(each.setting, each.defense): each for each in promises}
    costs = {(each.setting, each.defense): each for each in trained}
    broken = {(each.setting, each.threat, each.defense) for each in recovered if each.verdict == "refuted"}
    return tuple(
        _line(
            block,
            defense,
            claimed.get((block.setting, defense)),
            costs.get((block.setting, defense)),
            (block.setting, block.threat, defense) in broken,
        )
        for block in blocks
        for defense in block.defenses
        if defense != RANDOM_UPDATE
    )


def _line(
    block: Block, defense: str, promise: Promise | None, trained: Trained | None, is_refuted: bool
) -> DefenseLine:
    said, findings = fate(block, defense), block.of(defense)
    severity = "critical" if is_refuted else severity_of(said, findings)
    line = DefenseLine(
        setting=block.setting,
        threat=block.threat,
        defense=defense,
        fate="leaks" if is_refuted else said,
        labels=_worst(findings, LABEL_SHARES, LABELS, "labels right"),
        pictures=_worst(findings, PICTURE_SHARES, (*IMAGES, *IN_COMMON), "pictures picked out"),
        accuracy=None if trained is None else trained.accuracy,
        epsilon=_epsilon(promise, trained),
        severity=severity,
        advice="",
        batches_needed=None if is_refuted else batches_that_decide(block, defense),
    )
    return replace(line, advice=_advice(line, block, trained, is_refuted))


def _advice(line: DefenseLine, block: Block, trained: Trained | None, is_refuted: bool) -> str:
    if false_alarms(block):
        return UNCONTROLLED
    found = block.of(line.defense)
    return REFUTED if is_refuted else advice(line.defense, line.severity, found, trained, line.batches_needed)


def _worst(findings: Sequence[Finding], shares: Sequence[str], metrics: Sequence[str], what: str) -> str:
    """The share that leaked most, or another of these metrics that leaks, with interval, n and guesser; or what there is to
    say instead."""
    measured = [finding for finding in tried(findings) if kind_of(finding) in metrics]
    leaking = [finding for finding in measured if finding.standing == "leaks" and finding.value is not None]
    most = max((each for each in leaking if kind_of(each) in shares), key=_mean, default=None)
    if most is not None and most.value is not None:
        floor = "" if most.floor is None else f"; {most.guesser}: {_percent(most.floor)}"
        return f"{_percent(most.value.mean)} {_range(most.value)} of {what}, n = {_number_of_batches(most)}{floor}"
    if leaking and leaking[0].value is not None:
        first, value = leaking[0], leaking[0].value
        floor = "" if first.floor is None else f"; {first.guesser}: {number(first.floor, value.mean)}"
        return f"{first.metric} {interval(value)}, n = {_number_of_batches(first)}{floor}"
    standing = overall(measured)
    if standing == "at the floor":
        known = [each for each in measured if each.value is not None]
        return f"nothing was found{_not_excluded(known, shares)}, n = {_number_of_batches(min(known, key=_measured_batches))}"
    return NOT_MEASURED if standing is None else SAID.get(standing, "not all was measured")


def _not_excluded(known: Sequence[Finding], shares: Sequence[str]) -> str:
    """How large a gain of a share may be that was not found; empty where no interval says."""
    gains = [each.leak.high for each in known if kind_of(each) in shares and each.leak is not None and each.leak.high]
    return f"; a gain of up to {_percent(max(gains))} is not excluded" if gains else ""


def _mean(finding: Finding) -> float:
    return 0.0 if finding.value is None else finding.value.mean


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
    attacked = "none" if promise.reasons else ", ".join(bound(claim.epsilon) for claim in promise.claims) or "none"
    if trained is None or not (trained.claims or trained.unclaimed):
        return attacked
    whole = "none" if trained.unclaimed else bound(max(claim.epsilon for claim in trained.claims))
    return attacked if whole == attacked else f"{attacked} for what was attacked, {whole} for the training"
