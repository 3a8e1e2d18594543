"""Attack x defense at one glance, for the terminal and the head of the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from .findings.grid import Block, Finding, Standing, overall
from .findings.text import average, brief, number


@dataclass(frozen=True)
class SummaryCell:
    """One attack through one defense, over all metrics."""

    defense: str
    standing: Standing | None  # None where the combination was not planned
    lines: tuple[str, ...]  # short, plain text

    @property
    def text(self) -> str:
        """The lines in one."""
        return ", ".join(self.lines)


@dataclass(frozen=True)
class SummaryRow:
    """One attack through every defense."""

    attack: str
    cells: tuple[SummaryCell, ...]


@dataclass(frozen=True)
class SummaryTable:
    """Every attack through every defense, in one setting under one threat model."""

    setting: str
    threat: str
    defenses: tuple[str, ...]
    rows: tuple[SummaryRow, ...]


def summarize(blocks: Sequence[Block]) -> tuple[SummaryTable, ...]:
    """One table for each setting and threat model, in the order of the spec."""
    return tuple(
        SummaryTable(
            setting=block.setting,
            threat=block.threat,
            defenses=block.defenses,
            rows=tuple(
                SummaryRow(attack, tuple(_cell(block, defense, attack) for defense in block.defenses))
                for attack in block.attacks
            ),
        )
        for block in blocks
    )


def _cell(block: Block, defense: str, attack: str) -> SummaryCell:
    findings = block.of(defense, attack)
    standing = overall(findings)
    if standing is None:
        return SummaryCell(defense, None, ("not planned",))
    telling = [finding for finding in findings if finding.standing == standing]
    if standing in ("leaks", "told apart"):
        return SummaryCell(defense, standing, tuple(_gain(finding) for finding in telling))
    needed = [finding.evidence.needs for finding in telling if finding.evidence is not None and finding.evidence.needs]
    if standing == "inconclusive" and needed:
        return SummaryCell(defense, standing, (f"needs {max(needed)} batches",))
    measured = [finding.value.n for finding in telling if finding.value is not None]
    if measured:
        return SummaryCell(defense, standing, (f"n = {min(measured)}",))
    if standing == "n/a" and telling[0].note:
        return SummaryCell(defense, standing, (brief(telling[0].note, 100),))
    return SummaryCell(defense, standing, () if len(telling) == len(findings) else tuple(f.metric for f in telling))


def _gain(finding: Finding) -> str:
    """The attacker's number against the guesser's."""
    if finding.value is None or finding.floor is None:
        return finding.metric
    return f"{finding.metric} {average(finding.value)} vs {number(finding.floor, finding.value.mean)}"
