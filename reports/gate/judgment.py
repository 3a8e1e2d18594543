"""Whether a run meets a policy: each rule with its evidence. What was not shown is not met."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..findings.batches import FEWEST, batches_to_exclude
from ..findings.defense_verdicts import RANDOM_UPDATE, fate
from ..findings.grid import FAULTS, Block, Finding, unique
from ..findings.text import brief, counted, interval
from ..headline import failed_control
from ..plan_changes import changes_by
from ..report import Report
from ..undecided import would_take
from .policy import Policy, Rule
from .selection import Selection

Outcome = Literal["met", "violated", "inconclusive"]
WORST: tuple[Outcome, ...] = ("violated", "inconclusive", "met")


@dataclass(frozen=True)
class Violation:
    """One thing that a rule found, for or against it."""

    outcome: Outcome
    words: str


@dataclass(frozen=True)
class Judged:
    """One rule and what came of it."""

    rule: Rule
    outcome: Outcome
    evidence: tuple[Violation, ...]  # what decided it, the gravest first


def judge_policy(policy: Policy, report: Report) -> tuple[Judged, ...]:
    """Every rule of `policy` over the numbers of `report`. Where a control fails or was not wholly measured, or a recorded
    update is doubted, no rule is met."""
    unsound = [Violation("inconclusive", each) for each in _unsound(report)]
    return tuple(_judged(rule, report, unsound) for rule in policy.rules)


def _unsound(report: Report) -> Iterator[str]:
    """What speaks against every number of a report."""
    if failed := failed_control(report.blocks):
        yield failed
    for block in report.blocks:
        control = block.of(RANDOM_UPDATE)
        if lacking := _lacking(control):
            yield f"{_at(block)}the negative control, {lacking}"
        elif control and all(finding.value is None for finding in control):
            yield f"{_at(block)}the negative control was not measured"
    yield from (f"doubted: {brief(doubt)}" for doubt in report.manifest.doubts)


def _judged(rule: Rule, report: Report, unsound: Sequence[Violation]) -> Judged:
    judges = {"no_leak": _no_leak, "leak": _leak, "measured": _measured, "plan_kept": _plan_kept, None: _small}
    chosen = Selection(rule, report)
    found = [*judges[rule.require](rule, chosen)]
    if not found:
        nothing = f", nothing of {' and '.join(chosen.unmatched)}" if chosen.unmatched else ""
        found.append(Violation("inconclusive", f"the run holds nothing that this rule is about{nothing}"))
    found += unsound
    outcome = min((each.outcome for each in found), key=WORST.index)
    return Judged(rule, outcome, tuple(sorted(found, key=lambda each: WORST.index(each.outcome))))


def _no_leak(rule: Rule, chosen: Selection) -> Iterator[Violation]:
    outcomes: dict[str, Outcome] = {"held": "met", "leaks": "violated"}
    for block, findings in chosen.found:
        of_these = replace(block, findings=chosen.with_controls(block))
        for defense in unique(finding.defense for finding in findings):
            said, lacking = fate(of_these, defense), _lacking(of_these.of(defense))
            outcome = outcomes.get(said, "inconclusive")
            if outcome == "met" and lacking:
                outcome = "inconclusive"
            yield Violation(outcome, f"{_at(block)}{defense}: {said}{f', {lacking}' if lacking else ''}")
    for row in chosen.refuted:
        words = f"{row.attack} recovered {row.recovered} of {row.images} images, more than the guarantee allows"
        yield Violation("violated", f"{row.setting}, {row.threat}: {row.defense}: {words}")


def _leak(rule: Rule, chosen: Selection) -> Iterator[Violation]:
    for block, found in chosen.found:
        leaking = [finding for finding in found if finding.standing == "leaks"]
        if leaking:
            yield Violation("met", f"{_at(block)}{counted(len(leaking), 'combination')} of {len(found)} leak")
        else:
            tried, lacking = [each for each in found if each.standing == "at the floor"], _lacking(found)
            outcome: Outcome = "violated" if len(tried) == len(found) and not lacking else "inconclusive"
            said = f"none of {counted(len(found), 'combination')} leaks{f', {lacking}' if lacking else ''}"
            yield Violation(outcome, f"{_at(block)}{said}")


def _measured(rule: Rule, chosen: Selection) -> Iterator[Violation]:
    for block, findings in chosen.found:
        for defense in unique(finding.defense for finding in findings):
            mine = [finding for finding in findings if finding.defense == defense]
            numbers = sum(finding.value is not None for finding in mine)
            lacking = _lacking(mine)
            said = lacking or (f"{counted(numbers, 'combination')} measured" if numbers else "nothing was measured")
            yield Violation("met" if numbers and not lacking else "inconclusive", f"{_at(block)}{defense}: {said}")
    for trained in chosen.trained:
        unmeasured = trained.accuracy is None or any(state in FAULTS for state, _ in trained.states)
        said = trained.gaps or ("measured" if trained.accuracy is not None else "not measured")
        outcome: Outcome = "inconclusive" if unmeasured else "met"
        yield Violation(outcome, f"{trained.setting}: training under {trained.defense}: {said}")


def _plan_kept(rule: Rule, chosen: Selection) -> Iterator[Violation]:
    changes = [(each, words) for each in chosen.earlier for words in changes_by(each)]
    yield from (Violation("inconclusive" if each.is_lost else "violated", words) for each, words in changes)
    if not changes:
        yield Violation("met", "nothing was added or left out in the light of results")


def _small(rule: Rule, chosen: Selection) -> Iterator[Violation]:
    for block, findings in chosen.found:
        for defense, metric in unique((finding.defense, finding.metric) for finding in findings):
            mine = [each for each in findings if (each.defense, each.metric) == (defense, metric)]
            could = [finding for finding in mine if finding.standing != "n/a"]
            yield from (_held_against(rule, finding, chosen) for finding in could)
            if not could:
                yield Violation("inconclusive", f"{_at(block)}{metric} through {defense}: no attack could be run")


def _held_against(rule: Rule, finding: Finding, chosen: Selection) -> Violation:
    assert rule.leak_at_most is not None
    leak, most = finding.leak, rule.leak_at_most
    if leak is None or leak.low is None or leak.high is None:
        outcome: Outcome = "inconclusive"
    else:
        outcome = "met" if leak.high <= most else "violated" if leak.low > most else "inconclusive"
    lacking = _lacking([finding])
    if outcome == "met" and lacking:
        outcome = "inconclusive"
    said = "no number" if leak is None else f"leak {interval(leak, sign=True)}, n = {leak.n}"
    named = f"{finding.setting}, {finding.threat}: {finding.metric} by {finding.attack} through {finding.defense}"
    allowed = f"allowed: at most {most:g}{_would_take(finding, most, chosen) if outcome == 'inconclusive' else ''}"
    return Violation(outcome, f"{named}: {said}{f', {lacking}' if lacking else ''}; {allowed}")


def _would_take(finding: Finding, most: float, chosen: Selection) -> str:
    """How many batches would decide, where these can tell; empty where their number is not what is wanting."""
    if finding.leak is None or (finding.leak.high is not None and finding.leak.high <= most):
        return ""
    if finding.leak.n < FEWEST:
        return f"; fewer than {FEWEST} batches cannot tell how many it would take"
    return would_take(finding, most, batches_to_exclude(chosen.scores_of(finding), finding.leak, most))


def _lacking(findings: Sequence[Finding]) -> str:
    """What failed or is missing of these, and of what was measured in part, what cannot be had; empty where nothing is."""
    said = [
        f"{finding.metric} by {finding.attack}: {count} {state} of {finding.planned}"
        for finding in findings
        for state, count in finding.states
        if state in FAULTS or finding.value is not None
    ]
    more = f", and {len(said) - 1} more" if len(said) > 1 else ""
    return f"{said[0]}{more}" if said else ""


def _at(block: Block) -> str:
    return f"{block.setting}, {block.threat}: "
