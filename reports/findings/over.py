"""What was measured over a number of the settings, such as the rounds that a server has seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..row import Manifest
from .claims import Promise
from .grid import Block, Finding
from .intervals import Estimate


@dataclass(frozen=True)
class Measured:
    """One point of a line: a setting."""

    at: float
    setting: str
    finding: Finding
    value: Estimate
    epsilon: float | None  # the largest that is claimed there; None where no bound is


@dataclass(frozen=True)
class Line:
    """One attack through one defense."""

    defense: str
    points: tuple[Measured, ...]  # those with a number, at least two


@dataclass(frozen=True)
class Over:
    """One metric of one attack under one threat model, over a number of the settings."""

    axis: str
    threat: str
    attack: str
    metric: str
    better: str
    lines: tuple[Line, ...]  # one for each defense

    @property
    def title(self) -> str:
        return f"{self.metric} of {self.attack} over {self.axis}"


def over(manifest: Manifest, blocks: Sequence[Block], promised: Sequence[Promise]) -> tuple[Over, ...]:
    """A picture for every series, threat model, attack and metric in which some line has two points."""
    epsilons = {
        (each.setting, each.defense): None
        if each.reasons  # some cell claims nothing
        else max((claim.epsilon for claim in each.claims), default=None)
        for each in promised
    }
    found = []
    for series in manifest.series:
        numbers = dict(series.settings)
        inside = [block for block in blocks if block.setting in numbers]
        findings = [finding for block in inside for finding in block.findings if finding.value is not None]
        kinds = dict.fromkeys((each.threat, each.attack, each.metric) for each in findings)
        for threat, attack, metric in kinds:
            mine = [each for each in findings if (each.threat, each.attack, each.metric) == (threat, attack, metric)]
            lines = _lines(mine, numbers, epsilons)
            if lines:
                found.append(Over(series.axis, threat, attack, metric, mine[0].better, lines))
    return tuple(found)


def _lines(
    findings: Sequence[Finding], numbers: dict[str, float], epsilons: dict[tuple[str, str], float | None]
) -> tuple[Line, ...]:
    lines = []
    for defense in dict.fromkeys(each.defense for each in findings):
        points = [
            Measured(numbers[each.setting], each.setting, each, each.value, epsilons.get((each.setting, defense)))
            for each in findings
            if each.defense == defense and each.value is not None
        ]
        if len(points) > 1:
            lines.append(Line(defense, tuple(sorted(points, key=lambda point: point.at))))
    return tuple(lines)
