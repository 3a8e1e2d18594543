"""One line for each defense, for who reads nothing else: what leaks through it, how much at worst, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from seethrough.common.rounding import upward

from .costs import accuracy_words, cost_of, undefended
from .findings.claims import Promise
from .findings.defense_verdicts import NO_DEFENSE, RANDOM_UPDATE, Fate, batches_that_decide, false_alarms, fate, tried
from .findings.grid import FAULTS, Block, Finding, kind_of, overall, worst_of
from .findings.intervals import Estimate
from .findings.recoveries import Recovered
from .findings.text import interval, number, percent, percents
from .findings.utility import Trained
from .recommendation import IMAGES, IN_COMMON, LABELS, Severity, advice, is_least_severity, severity_of
from .row import Claim

LABEL_SHARES, PICTURE_SHARES = ("label_accuracy", "cohort_labels"), ("identifiability",)
REFUTED = "Its guarantee is refuted by what came back: rely on no bound of this run."
UNCONTROLLED = "Trust nothing here before the negative control holds."
NOT_MEASURED = "not measured"
UNTESTABLE = "could not be tested, which is no sign of safety: not even a perfect attack would show here"
NOT_SHOWN = "something came through; that it helps a guesser was not shown"
RANKED = (
    "Of labels and pictures each line gives the worst number that is shown to leak, by whichever attack: the highest on "
    "average over batches. Where another attack has a higher one that is not shown to leak, it stands behind."
)
"""What the table says of its own numbers; the findings rank by the same rule."""


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
    is_least: bool = False  # whether it may be graver than its severity, for what was not measured
    undefended: Estimate | None = None  # the accuracy without a defense

    @property
    def severity_words(self) -> str:
        """The severity, and that it is the least, where it may be graver."""
        if not self.is_least:
            return self.severity
        return "none of what was measured" if self.severity == "none" else f"at least {self.severity}"

    @property
    def accuracy_words(self) -> str:
        """The accuracy that it leaves, beside that without a defense."""
        return accuracy_words(self.accuracy, self.undefended, self.defense != NO_DEFENSE)


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
            undefended(trained, block.setting),
            (block.setting, block.threat, defense) in broken,
        )
        for block in blocks
        for defense in block.defenses
        if defense != RANDOM_UPDATE
    )


def _line(
    block: Block,
    defense: str,
    promise: Promise | None,
    trained: Trained | None,
    without: Trained | None,
    is_refuted: bool,
) -> DefenseLine:
    said, findings = fate(block, defense), block.of(defense)
    severity = "critical" if is_refuted else severity_of(said, findings)
    line = DefenseLine(
        setting=block.setting,
        threat=block.threat,
        defense=defense,
        fate="leaks" if is_refuted else said,
        labels=_worst(block, findings, LABEL_SHARES, LABELS, "labels right"),
        pictures=_worst(block, findings, PICTURE_SHARES, (*IMAGES, *IN_COMMON), "pictures picked out"),
        accuracy=None if trained is None else trained.accuracy,
        epsilon=_epsilon(promise, trained),
        severity=severity,
        advice="",
        batches_needed=None if is_refuted else batches_that_decide(block, defense),
        is_least=is_least_severity(severity, findings),
        undefended=None if without is None else without.accuracy,
    )
    return replace(line, advice=_advice(line, block, cost_of(trained, without), is_refuted))


def _advice(line: DefenseLine, block: Block, cost: str, is_refuted: bool) -> str:
    if false_alarms(block):
        return UNCONTROLLED
    found = block.of(line.defense)
    return REFUTED if is_refuted else advice(line.defense, line.severity, found, cost, line.batches_needed)


def _worst(block: Block, findings: Sequence[Finding], shares: Sequence[str], metrics: Sequence[str], what: str) -> str:
    """The worst share that leaks, or another of these metrics that does, with interval, n and guesser; or what there is to
    say instead."""
    measured = [finding for finding in tried(findings) if kind_of(finding) in metrics]
    leaking = [finding for finding in measured if finding.standing == "leaks"]
    most = worst_of(finding for finding in leaking if kind_of(finding) in shares)
    if most is not None and most.value is not None:
        floor = "" if most.floor is None else f"; {most.guesser}: {percent(most.floor)}"
        whose = f",{block.whose(most)}" if block.whose(most) else ""
        said = f"{percents(most.value)} of {what}{whose}, n = {_number_of_batches(most)}{floor}"
        return f"{said}{_not_shown(measured, most)}"
    for metric in dict.fromkeys(finding.metric for finding in leaking):
        first = worst_of(finding for finding in leaking if finding.metric == metric)
        if first is not None and first.value is not None:
            floor = "" if first.floor is None else f"; {first.guesser}: {number(first.floor, first.value.mean)}"
            return f"{metric} {interval(first.value)}, n = {_number_of_batches(first)}{floor}"
    return _without_a_leak(block, measured, metrics, shares)


def _not_shown(measured: Sequence[Finding], most: Finding) -> str:
    """A worse number by the same metric that is not shown to leak; empty where there is none."""
    worst = worst_of(each for each in measured if each.metric == most.metric)
    if worst is None or worst.value is None or most.value is None or worst.value.mean == most.value.mean:
        return ""
    return f"; {percent(worst.value.mean)} by {worst.attack}, n = {worst.value.n}, is not shown to leak"


def _without_a_leak(block: Block, measured: Sequence[Finding], metrics: Sequence[str], shares: Sequence[str]) -> str:
    """What is said of metrics by which nothing leaks, by the gravest standing among them; that nothing is found is worth
    little where nothing leaks without a defense either."""
    standing, known = overall(measured), [each for each in measured if each.value is not None]
    if standing is None:
        return NOT_MEASURED
    if standing in FAULTS:
        gravest = next(each for each in measured if each.standing == standing)
        lacking = ", ".join(f"{count} of {gravest.planned} {state}" for state, count in gravest.states)
        return f"not all was measured: by {gravest.attack} {lacking}"
    if standing == "inconclusive":
        short = [each for each in known if each.evidence is not None and (each.evidence.needs or 0) > each.planned]
        few = min((each for each in known if each.standing == standing), key=_measured_batches, default=None)
        return (
            "not known with so few batches" if short or few is None else f"not known by n = {_number_of_batches(few)}"
        )
    if standing == "no power":
        return UNTESTABLE
    said = "nothing was found" if standing == "at the floor" else NOT_SHOWN
    control = [each for each in block.of(NO_DEFENSE) if kind_of(each) in metrics]
    if standing == "at the floor" and measured[0].defense != NO_DEFENSE and control and overall(control) != "leaks":
        said += ", as nothing is shown to leak without a defense either"
    return f"{said}{_not_excluded(known, shares)}, n = {_number_of_batches(min(known, key=_measured_batches))}"


def _not_excluded(known: Sequence[Finding], shares: Sequence[str]) -> str:
    """How large a gain may be that was not found, of a share where one is among them; empty where no interval says."""
    gains = [(each.leak.high, each) for each in known if each.leak is not None and each.leak.high is not None]
    of_shares = [high for high, each in gains if kind_of(each) in shares]
    if of_shares:
        return f"; a gain of up to {percent(max(of_shares))} is not excluded" if max(of_shares) > 0 else ""
    metric = next((each.metric for _, each in gains), "")
    high = max((high for high, each in gains if each.metric == metric), default=0.0)
    return f"; a gain of up to {number(high)} {metric} is not excluded" if high > 0 else ""


def _measured_batches(finding: Finding) -> int:
    return 0 if finding.value is None else finding.value.n


def _number_of_batches(finding: Finding) -> str:
    measured = _measured_batches(finding)
    return f"{measured}" if measured == finding.planned else f"{measured} of {finding.planned} planned"


def _epsilon(promise: Promise | None, trained: Trained | None) -> str:
    """Of what was attacked, and of the training whose accuracy stands beside it, where that is another one; for each unit."""
    if promise is None or not promise.known:
        return "not known yet"
    attacked = "none" if promise.reasons else _for_each_unit(promise.claims)
    if trained is None or not (trained.claims or trained.unclaimed):
        return attacked
    whole = "none" if trained.unclaimed else _for_each_unit(trained.claims)
    return attacked if whole == attacked else f"{attacked} for what was attacked, {whole} for the training"


def _for_each_unit(claims: Sequence[Claim]) -> str:
    """The largest epsilon for each unit of data that is claimed, or none."""
    units = dict.fromkeys(claim.unit for claim in claims)
    worst = {unit: max(claim.epsilon for claim in claims if claim.unit == unit) for unit in units}
    said = [f"{upward(epsilon)}{f' per {unit}' if unit else ''}" for unit, epsilon in worst.items()]
    return ", ".join(said) or "none"
