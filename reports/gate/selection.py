"""What of a report a rule is about."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property

from ..findings.defense_verdicts import CONTROLS, NO_DEFENSE
from ..findings.grid import Block, Finding, Reading, grouped
from ..findings.recoveries import Recovered
from ..findings.utility import Trained
from ..report import Report
from ..row import Score
from .policy import Rule


class Selection:
    """The findings, trainings and refuted guarantees of `report` that `rule` chooses by their names."""

    def __init__(self, rule: Rule, report: Report):
        findings = [finding for block in report.blocks for finding in block.findings]
        trainings = [(row.setting, row.defense) for row in report.trained]
        self._settings = _chosen(rule.settings, [*(each.setting for each in findings), *(one for one, _ in trainings)])
        self._threats = _chosen(rule.threats, (finding.threat for finding in findings))
        self._attacks = _chosen(rule.attacks, (finding.attack for finding in findings))
        self._metrics = _chosen(rule.metrics, (finding.metric for finding in findings))
        defenses = _chosen(rule.defenses, [*(each.defense for each in findings), *(one for _, one in trainings)])
        self._defenses = defenses if rule.defenses in defenses else defenses - set(CONTROLS)
        chosen = {
            "settings": self._settings,
            "threats": self._threats,
            "defenses": self._defenses,
            "attacks": self._attacks,
            "metrics": self._metrics,
        }
        self.unmatched = tuple(f"{key}: {getattr(rule, key)}" for key, names in chosen.items() if not names)
        both = ((block, self._of(block)) for block in report.blocks)
        self.earlier = report.manifest.earlier
        self._readings = report.readings
        self.found: tuple[tuple[Block, tuple[Finding, ...]], ...] = tuple(pair for pair in both if pair[1])
        self.refuted: tuple[Recovered, ...] = tuple(
            row
            for row in report.recoveries
            if row.verdict == "refuted" and self._is_at(row.setting, row.threat, row.defense, row.attack)
        )
        whole = rule.threats == rule.attacks == rule.metrics == "*"  # a training has none of these
        self.trained: tuple[Trained, ...] = tuple(
            row for row in report.trained if whole and row.setting in self._settings and row.defense in self._defenses
        )

    def with_controls(self, block: Block) -> tuple[Finding, ...]:
        """The findings that the rule is about, and those by the same attacks and metrics without a defense."""
        return tuple(
            finding
            for finding in block.findings
            if finding.defense in {*self._defenses, NO_DEFENSE} and self._is_by(finding)
        )

    def scores_of(self, finding: Finding) -> list[Score]:
        """Those that were measured of one finding."""
        path = (finding.setting, finding.threat, finding.defense, finding.attack, finding.metric)
        return [each.score for each in self._by_path[path] if each.state == "ok" and each.score is not None]

    @cached_property
    def _by_path(self) -> dict[tuple[str, ...], list[Reading]]:
        return grouped(self._readings)

    def _of(self, block: Block) -> tuple[Finding, ...]:
        return tuple(
            finding
            for finding in block.findings
            if self._is_by(finding) and self._is_at(block.setting, block.threat, finding.defense, finding.attack)
        )

    def _is_by(self, finding: Finding) -> bool:
        return finding.attack in self._attacks and finding.metric in self._metrics

    def _is_at(self, setting: str, threat: str, defense: str, attack: str) -> bool:
        return (
            setting in self._settings
            and threat in self._threats
            and defense in self._defenses
            and attack in self._attacks
        )


def _chosen(pattern: str, names: Iterable[str]) -> set[str]:
    """The one name that the pattern is, which may hold brackets of its own, or all that it stands for."""
    known = set(names)
    return {pattern} if pattern in known else {name for name in known if fnmatchcase(name, pattern)}
