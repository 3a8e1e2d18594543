"""Whether a run meets a policy: each rule with its evidence. What was not shown is not met."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ..findings.defense_verdicts import CONTROLS, false_alarms, fate
from ..findings.grid import Block, Finding
from ..findings.text import counted, interval
from ..report import Report
from .policy import Policy, Rule

Outcome = Literal["met", "violated", "inconclusive"]
WORST: tuple[Outcome, ...] = ("violated", "inconclusive", "met")
UNMEASURED = ("failed", "nan", "missing")


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
    """Every rule of `policy` over the numbers of `report`. Where the negative control finds something, no rule is met."""
    broken = [block.setting for block in report.blocks if false_alarms(block)]
    return tuple(_judged(rule, report.blocks, broken) for rule in policy.rules)


def _judged(rule: Rule, blocks: tuple[Block, ...], broken: list[str]) -> Judged:
    judges = {"no_leak": _no_leak, "leak": _leak, "measured": _measured, None: _small}
    found = [each for block in blocks for each in judges[rule.require](rule, block)]
    if broken:
        found.append(Violation("inconclusive", f"the negative control finds something in noise, at {broken[0]}"))
    if not found:
        found.append(Violation("inconclusive", "the run holds nothing that this rule is about"))
    outcome = min((each.outcome for each in found), key=WORST.index)
    return Judged(rule, outcome, tuple(sorted(found, key=lambda each: WORST.index(each.outcome))))


def _no_leak(rule: Rule, block: Block) -> Iterator[Violation]:
    outcomes: dict[str, Outcome] = {"held": "met", "leaks": "violated"}
    for defense in dict.fromkeys(finding.defense for finding in _of(rule, block)):
        said = fate(block, defense)
        yield Violation(outcomes.get(said, "inconclusive"), f"{_at(block)}{defense}: {said}")


def _leak(rule: Rule, block: Block) -> Iterator[Violation]:
    found = _of(rule, block)
    leaking = [finding for finding in found if finding.standing == "leaks"]
    if leaking:
        yield Violation("met", f"{_at(block)}{counted(len(leaking), 'combination')} of {len(found)} leak")
    elif found:
        tried = [finding for finding in found if finding.standing == "at the floor"]
        outcome: Outcome = "violated" if len(tried) == len(found) else "inconclusive"
        yield Violation(outcome, f"{_at(block)}none of {counted(len(found), 'combination')} leaks")


def _measured(rule: Rule, block: Block) -> Iterator[Violation]:
    found = _of(rule, block)
    for finding in found:
        lacking = [f"{count} {state}" for state, count in finding.states if state in UNMEASURED]
        if lacking:
            yield Violation("inconclusive", f"{_name(finding)}: {', '.join(lacking)} of {finding.planned}")
    if found and not any(state in UNMEASURED for finding in found for state, _ in finding.states):
        yield Violation("met", f"{_at(block)}{counted(len(found), 'combination')}, nothing failed or missing")


def _small(rule: Rule, block: Block) -> Iterator[Violation]:
    assert rule.leak_at_most is not None
    for finding in _of(rule, block):
        if finding.standing == "n/a":
            continue
        leak, most = finding.leak, rule.leak_at_most
        if leak is None or leak.low is None or leak.high is None:
            outcome: Outcome = "inconclusive"
        else:
            outcome = "met" if leak.high <= most else "violated" if leak.low > most else "inconclusive"
        if outcome == "met" and any(state in UNMEASURED for state, _ in finding.states):
            outcome = "inconclusive"
        said = "no number" if leak is None else f"leak {interval(leak, sign=True)}, n = {leak.n}"
        yield Violation(outcome, f"{_name(finding)}: {said}; allowed: at most {most:g}")


def _of(rule: Rule, block: Block) -> list[Finding]:
    if not (_fits(block.setting, rule.settings) and _fits(block.threat, rule.threats)):
        return []
    return [
        finding
        for finding in block.findings
        if _fits(finding.attack, rule.attacks)
        and _fits(finding.metric, rule.metrics)
        and (finding.defense == rule.defenses or finding.defense not in CONTROLS)
        and _fits(finding.defense, rule.defenses)
    ]


def _fits(name: str, pattern: str) -> bool:
    """Whether a pattern is the name, which may hold brackets of its own, or stands for it."""
    return name == pattern or fnmatchcase(name, pattern)


def _name(finding: Finding) -> str:
    return f"{finding.setting}, {finding.threat}: {finding.metric} by {finding.attack} through {finding.defense}"


def _at(block: Block) -> str:
    return f"{block.setting}, {block.threat}: "
