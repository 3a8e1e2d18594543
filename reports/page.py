"""index.html: the audit as one self-contained page, without script and without network."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from seethrough.common.console import visible
from seethrough.common.rounding import upward

from .defense_table import RANKED
from .findings.claims import bound
from .findings.defense_verdicts import CONTROLS
from .findings.evidence import in_words
from .findings.grid import STANDINGS, Block, Finding, Reading, State, unique
from .findings.recoveries import Recovered, refutation
from .findings.text import average, brief, counted, interval, last_line, listed, number, spread
from .glossary import GLOSSARY, TERMS
from .overview import summarize
from .parts.curves import curves
from .parts.label_bars import label_bars
from .parts.pictures import first_figures
from .parts.scatter import scatter
from .parts.short_names import short_names
from .parts.template import style, template
from .parts.threat_drawing import threat_drawing
from .recommendation import RULE
from .remarks import remarks
from .report import Report
from .row import Cell, Described, Manifest, Place
from .standards import Point, standards

MOST_LISTED = (
    1_000  # cells up to which all are listed one by one; of more, those without a measurement, as many at most
)


@dataclass(frozen=True)
class Sign:
    """How a standing or state is shown: never by color alone."""

    style: str  # CSS class
    glyph: str
    meaning: str


SIGNS = {
    "leaks": Sign(
        "leaks", "▲", "the update said something of its own batch, and the attacker beats every blind guesser"
    ),
    "told apart": Sign(
        "open", "△", "the update said something of its own batch, but was not shown to beat every blind guesser"
    ),
    "at the floor": Sign("floor", "●", "nothing was found, with batches enough to find a perfect attack"),
    "inconclusive": Sign("open", "?", "with so few batches not even a perfect attack could have been called a leak"),
    "no power": Sign(
        "absent",
        "○",
        "could not be tested, which is no sign of safety: not even a perfect attack would be seen to leak",
    ),
    "failed": Sign("failed", "✕", "the computation broke"),
    "nan": Sign("absent", "≠", "the measurement is not a finite number"),
    "missing": Sign("absent", "…", "planned, but not computed yet"),
    "unavailable": Sign("absent", "⊘", "the metric could not be had"),
    "n/a": Sign("absent", "\N{EN DASH}", "the combination is not possible"),
    "ok": Sign("floor", "✓", "measured"),
    "held": Sign("floor", "✓", "nothing was found, by attacks that leak without it"),
    "undecided": Sign("open", "?", "neither a leak nor that it held was shown"),
}


@dataclass(frozen=True)
class Scale:
    """The range of one metric in one block, for the small plots in its table."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Where `value` lies, in percent of the width; values beyond the range lie on its edge."""
        width = self.high - self.low
        share = (value - self.low) / width if 0 < width < math.inf else 0.5
        return f"{100 * min(1.0, max(0.0, share)):.2f}"


@dataclass(frozen=True)
class Coverage:
    """What became of one cell."""

    place: Place
    cell: Cell | None
    state: State
    gaps: tuple[Reading, ...]  # metrics without a number, in a cell that was computed


def render_page(report: Report, include_private: bool = False, added: Sequence[Point] = ()) -> str:
    """The page as HTML; pictures that may show real people are left out, unless `include_private`. `added` are points of laws
    and guidelines beside those that are built in."""
    private = () if include_private else report.manifest.personal
    coverage = _coverage(report.readings) + _covered_trainings(report.manifest, report.cells)
    return _template().render(
        style=style(),
        manifest=report.manifest,
        blocks=report.blocks,
        summaries=summarize(report.blocks),
        verdict=report.verdict,
        promises=report.promises,
        recoveries=report.recoveries,
        bases={text: number for number, text in enumerate(unique(filter(None, map(_rests_on, report.recoveries))), 1)},
        labels=report.labels,
        defenses=report.defenses,
        choice=report.choice,
        costs=report.costs,
        missing_controls=report.missing_controls,
        against=_against([each.name for each in report.manifest.defenses]),
        lacking=_lacking([each.state for each in coverage]),
        ranked=RANKED,
        terms=TERMS,
        plan_changes=report.plan_changes,
        refutation=refutation(report.recoveries),
        trained=report.trained,
        plots=[(plot, scatter(plot)) for plot in report.plots],
        over=[(plot, curves(plot)) for plot in report.over],
        remarks=remarks(report.readings),
        drawings=[threat_drawing(report.manifest, block.threat, block.defenses) for block in report.blocks],
        figures=[each for each in first_figures(report.readings) if each.place.setting not in private],
        left_out={each.place.setting for each in first_figures(report.readings)}.intersection(private),
        histograms=[(each, label_bars(each)) for each in report.histograms if each.setting not in private],
        labels_left_out={each.setting for each in report.histograms}.intersection(private),
        severities=RULE,
        shortened=any(_shortened(block.attacks) or _shortened(block.defenses) for block in report.blocks),
        standards=standards(),
        added=added,
        glossary=GLOSSARY,
        coverage=coverage,
        listed=_listed(coverage),
        codes=unique(each.cell.code for each in coverage if each.cell is not None and each.cell.code),
    )


@cache
def _template() -> Template:
    return template(
        "page.html",
        average=average,
        bound=bound,
        upward=upward,
        breakable=breakable,
        brief=brief,
        counted=counted,
        direction=_direction,
        facts_of=_facts_of,
        guessers_in=_guessers_in,
        in_words=in_words,
        interval=interval,
        last_line=last_line,
        methods_of=_methods_of,
        number=number,
        rests_on=_rests_on,
        scale_of=_scale_of,
        short_names=short_names,
        signs=SIGNS,
        spread=spread,
        standings=STANDINGS,
    )


def _against(names: Sequence[str]) -> str:
    """How many defenses, and, apart, how many controls."""
    controls = sum(name in CONTROLS for name in names)
    said = [counted(len(names) - controls, "defense")] if len(names) > controls or not controls else []
    return listed(said + ([counted(controls, "control")] if controls else []))


def _lacking(states: Sequence[State]) -> str:
    """How many cells have no number, and why; empty where all have."""
    said = {"failed": "failed", "n/a": "not applicable", "missing": "not computed yet"}
    return "".join(f", {states.count(state)} {words}" for state, words in said.items() if state in states)


def _shortened(names: Sequence[str]) -> bool:
    return any(short != name for name, short in short_names(names).items())


def breakable(name: str, between: str = "<wbr>") -> Markup:
    """A name with its parameters, which may go on to the next line behind each of its parts, since something that takes no
    room stands `between` them; in attributes, which hold no elements, a character."""
    return Markup(between).join(re.split(r"(?<=[_(,+])", visible(name)))


def _facts_of(parts: Sequence[Described], name: str) -> tuple[str, ...]:
    return next((part.facts for part in parts if part.name == name), ())


def _rests_on(row: Recovered) -> str:
    """What the bound of a recovery rests on, or why there is none; many rows have the same."""
    guesses = f"{counted(row.guesses, 'guess', 'guesses')}, {counted(row.targets, 'target')}"
    return " ".join(
        (
            *row.unclaimed,
            *((f"{'; '.join(row.methods)}; {guesses}.",) if row.methods else ()),
            *(f"Unit: one {each.unit}. Neighbors {each.adjacency}. Noise: {each.noise}." for each in row.claims),
        )
    )


def _methods_of(block: Block, metric: str) -> tuple[str, ...]:
    estimates = [each for finding in _of_metric(block, metric) for each in (finding.value, finding.leak)]
    return unique(estimate.method for estimate in estimates if estimate is not None)


def _guessers_in(block: Block, metric: str) -> tuple[str, ...]:
    found = [finding.evidence for finding in _of_metric(block, metric) if finding.evidence is not None]
    return unique(name for evidence in found for name, _ in evidence.beaten)


def _direction(block: Block, metric: str) -> str:
    return next((finding.better for finding in _of_metric(block, metric) if finding.better), "")


def _scale_of(block: Block, metric: str) -> Scale | None:
    """A range that shows all means and floors; wide intervals may run off its edges. None without a mean."""
    found = _of_metric(block, metric)
    points = [finding.value.mean for finding in found if finding.value is not None]
    if not points:
        return None
    points += [finding.floor for finding in found if finding.floor is not None]
    low, high = min(points), max(points)
    margin = 0.15 * (high - low) or 1.0
    return Scale(low - margin, high + margin)


def _of_metric(block: Block, metric: str) -> list[Finding]:
    return [finding for finding in block.findings if finding.metric == metric]


def _covered_trainings(manifest: Manifest, cells: Sequence[Cell]) -> tuple[Coverage, ...]:
    """The state of every planned training, in the order of the spec."""
    by_key = {cell.key: cell for cell in cells}
    found = [(place, by_key.get(place.key)) for place in manifest.trainings]
    return tuple(Coverage(place, cell, cell.status if cell else "missing", ()) for place, cell in found)


def _listed(coverage: Sequence[Coverage]) -> tuple[Coverage, ...]:
    """The cells that are listed one by one: nobody reads ten thousand that went well."""
    if len(coverage) <= MOST_LISTED:
        return tuple(coverage)
    return tuple(each for each in coverage if each.state != "ok" or each.gaps)[:MOST_LISTED]


def _coverage(readings: Sequence[Reading]) -> tuple[Coverage, ...]:
    """The state of every planned cell, in the order of the spec."""
    groups: dict[Place, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(reading.place, []).append(reading)
    found = []
    for place, group in groups.items():
        cell = group[0].cell
        computed = cell is not None and cell.status == "ok"
        gaps = [reading for reading in group if computed and reading.state != "ok"]
        found.append(Coverage(place, cell, cell.status if cell else "missing", tuple(gaps)))
    return tuple(found)
