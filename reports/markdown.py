"""results.md: the verdict, and the numbers of results.csv as tables to read."""

from collections.abc import Iterable, Sequence

from seethrough.common.console import visible
from seethrough.common.rounding import upward

from .defense_table import RANKED, DefenseLine
from .findings.claims import Promise, bound
from .findings.evidence import in_words
from .findings.grid import Block, Finding
from .findings.labels import Told
from .findings.problems import Statement
from .findings.recoveries import Recovered, refutation
from .findings.text import brief, interval, number
from .findings.utility import Tradeoff, Trained
from .glossary import TERMS
from .report import Report
from .verdict import Verdict

_MARKUP = str.maketrans({"\\": "\\\\", "|": "\\|", "*": "\\*", "<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "})


def results_markdown(report: Report) -> str:
    """Markdown with the verdict, then one attack x defense table for every setting, threat model and metric."""
    refuted = refutation(report.recoveries)
    parts = [f"# {escaped(report.manifest.name)}"]
    parts += [f"**{escaped(refuted)}**"] if refuted else []
    parts += [
        f"> {escaped(warning)}" for warning in report.plan_changes + report.manifest.warnings + report.manifest.doubts
    ]
    parts += _verdict_parts(report.verdict, report.choice)
    parts += [_defenses_table(report.defenses), RANKED, escaped(TERMS)] if report.defenses else []
    parts += [f"> {escaped(cost)}" for cost in report.costs]
    for block in report.blocks:
        parts.append(f"## {escaped(block.setting)}, {escaped(block.threat)}")
        told = [
            each for each in report.labels if (each.place.setting, each.place.threat) == (block.setting, block.threat)
        ]
        parts += ["### Labels that were found, with no truth to score them", _labels_table(told)] if told else []
        for metric in block.metrics:
            parts += [f"### {escaped(metric)}{_direction(block, metric)}", _metric_table(block, metric)]
    parts += ["## Claimed privacy", _claims_table(report.promises)]
    if report.recoveries:
        parts += ["## Images recovered, and what the guarantees allow", _recoveries_table(report.recoveries)]
    parts += ["## Utility", _utility_table(report.trained)] if report.trained else []
    for plot in report.plots:
        parts += [f"### {escaped(plot.title)}", _tradeoff_table(plot)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """`text` without a table, a link or markup of its own."""
    return visible(text).translate(_MARKUP).replace("](", "]\\(")


def _verdict_parts(verdict: Verdict, choice: str) -> list[str]:
    parts = [f"**{escaped(verdict.headline)}**", *([escaped(choice)] if choice else [])]
    if verdict.problems:
        parts.append(_statements(verdict.problems))
    for section in verdict.sections:
        parts += [f"**{escaped(section.setting)}, {escaped(section.threat)}**", _statements(section.statements)]
    return parts + [f"> {escaped(caveat)}" for caveat in verdict.caveats]


def _statements(statements: Sequence[Statement]) -> str:
    return "\n".join(
        line
        for each in statements
        for line in (
            f"- **{escaped(each.subject)}**: {escaped(each.text)}",
            *(f"  - {escaped(point)}" for point in each.points),
        )
    )


def _direction(block: Block, metric: str) -> str:
    better = next((finding.better for finding in block.findings if finding.metric == metric and finding.better), "")
    return f" ({better} means more leaked)" if better else ""


def _defenses_table(lines: Sequence[DefenseLine]) -> str:
    rows = [
        (
            *(line.setting, line.threat, line.defense, line.fate, line.labels, line.pictures),
            *(line.accuracy_words, line.epsilon, line.severity_words, line.advice),
        )
        for line in lines
    ]
    head = (
        *("setting", "threat", "defense", "verdict", "labels", "pictures", "accuracy it leaves", "claimed epsilon"),
        *("severity", "what to do"),
    )
    return table(head, rows)


def _labels_table(told: Sequence[Told]) -> str:
    rows = [(each.client, each.place.defense, each.place.attack, each.words) for each in told]
    return table(("client", "defense", "attack", "labels"), rows)


def _metric_table(block: Block, metric: str) -> str:
    rows = [
        (attack, *(_words(block.of(defense, attack, metric)) for defense in block.defenses)) for attack in block.attacks
    ]
    return table(("attack", *block.defenses), rows)


def _words(findings: Sequence[Finding]) -> str:
    return "; ".join(_said(finding) for finding in findings) or "not planned"


def _said(finding: Finding) -> str:
    """One cell: the number with its floor and n, or the state that stands in its stead."""
    states = ", ".join(f"{count} {state}" for state, count in finding.states)
    if finding.value is None:
        return f"{states}: {brief(finding.note)}" if finding.note else states
    floor = "" if finding.floor is None else f", floor {number(finding.floor, finding.value.mean)} ({finding.guesser})"
    leak = "" if finding.leak is None else f", leak {interval(finding.leak, sign=True)}"
    chance = "" if finding.chance is None else f", by chance {number(finding.chance, finding.value.mean)}"
    decoy = "" if finding.over_decoy is None else f", over the decoy {interval(finding.over_decoy, sign=True)}"
    rest = f", {states}" if states else ""
    tests = "" if finding.evidence is None else f" ({in_words(finding.evidence)})"
    return (
        f"{interval(finding.value)}{floor}{leak}{chance}{decoy}, n = {finding.value.n}{rest}: {finding.standing}{tests}"
    )


def _claims_table(promises: Sequence[Promise]) -> str:
    rows = [
        (promise.setting, promise.defense, *words)
        for promise in promises
        for words in (
            [(upward(claim.epsilon), bound(claim.delta), claim.statement) for claim in promise.claims]
            or [("", "", promise.words)]
        )
    ]
    return table(("setting", "defense", "epsilon", "delta", "statement"), rows)


def _recoveries_table(recoveries: Sequence[Recovered]) -> str:
    rows = [
        (
            *(row.setting, row.threat, row.defense, row.attack, f"{row.threshold:g} dB"),
            f"{row.recovered} of {row.images} in {row.batches} [{row.low:.3f}, {row.high:.3f}]",
            f"{row.blind:.3f}, at most {row.kappa:.3f}",
            f"no bound: {'; '.join(row.unclaimed)}"
            if row.bound is None
            else f"{bound(row.bound)} ({'; '.join(row.methods)})",
            row.said,
        )
        for row in recoveries
    ]
    head = ("setting", "threat", "defense", "attack", "from", "recovered", "blind (kappa)", "bound (gamma)", "verdict")
    return table(head, rows)


def _utility_table(trained: Sequence[Trained]) -> str:
    rows = [
        (row.setting, row.defense, row.reason, "", "", "", "", "")
        if row.accuracy is None or row.floor is None
        else (
            *(
                row.setting,
                row.defense,
                f"{interval(row.accuracy)}, n = {row.accuracy.n}{', ' if row.gaps else ''}{row.gaps}",
            ),
            *(number(row.floor), f"{row.sent:,.0f}", f"{row.seconds:.3g}", row.privacy, row.how),
        )
        for row in trained
    ]
    head = ("setting", "defense", "held-out accuracy", "before training", "bytes", "seconds", "epsilon", "training")
    return table(head, rows)


def _tradeoff_table(plot: Tradeoff) -> str:
    rows = [
        (
            str(p.number),
            p.defense,
            interval(p.accuracy),
            interval(p.leak),
            p.attack,
            p.privacy,
            "yes" if p.front else "no",
        )
        for p in plot.points
    ]
    return table(("", "defense", "held-out accuracy", "leak", "strongest attack", "epsilon", "Pareto front"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(escaped(cell) for cell in line)} |" for line in lines)
