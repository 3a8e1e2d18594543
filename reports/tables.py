"""results.csv, one row a number, and results.md, the same as tables to read."""

import csv
import io
from collections.abc import Iterable, Sequence

from .defense_table import DefenseLine
from .findings.claims import Promise, bound
from .findings.evidence import chance_of, guesses_by, in_words
from .findings.grid import Block, Finding, Reading, grouped, strongest_guesser
from .findings.labels import Told
from .findings.problems import Statement
from .findings.recoveries import Recovered, refutation
from .findings.text import brief, interval, last_line, number, visible
from .findings.utility import Tradeoff, Trained
from .report import Report
from .row import Cell, Manifest, Place
from .verdict import Verdict

COLUMNS = (
    *(
        "setting",
        "threat",
        "defense",
        "attack",
        "trial",
        "metric",
        "value",
        "floor",
        "guesser",
        "decoy",
        "chance",
        "worst",
    ),
    *("better", "status", "note", "n", "seconds", "seed", "key", "code", "recovered", "images", "kappa", "bound"),
)
_FORMULA = tuple("=+-@\t\n\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the start of a formula (its full-width forms too), or may trim before one."""

_MARKUP = str.maketrans({"\\": "\\\\", "|": "\\|", "*": "\\*", "<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "})


def results_csv(readings: Sequence[Reading]) -> str:
    """CSV with one row for every planned number, floats in full precision. `floor` is what the blind guesser gets in the trial
    who does best over all trials of the combination; `chance` is the mean over other private batches in the truth's place."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    guessers = {
        path: strongest_guesser([reading.score for reading in group if reading.score is not None])
        for path, group in grouped(readings).items()
    }
    writer.writerows(_csv_row(reading, guessers[reading.path]) for reading in readings)
    return text.getvalue()


def results_markdown(report: Report) -> str:
    """Markdown with the verdict, then one attack x defense table for every setting, threat model and metric."""
    refuted = refutation(report.recoveries)
    parts = [f"# {_escaped(report.manifest.name)}"]
    parts += [f"**{_escaped(refuted)}**"] if refuted else []
    parts += [f"> {_escaped(warning)}" for warning in report.manifest.warnings + report.manifest.doubts]
    parts += _verdict_parts(report.verdict)
    parts += [_defenses_table(report.defenses)] if report.defenses else []
    for block in report.blocks:
        parts.append(f"## {_escaped(block.setting)}, {_escaped(block.threat)}")
        told = [
            each for each in report.labels if (each.place.setting, each.place.threat) == (block.setting, block.threat)
        ]
        parts += ["### Labels that were found, with no truth to score them", _labels_table(told)] if told else []
        for metric in block.metrics:
            parts += [f"### {_escaped(metric)}{_direction(block, metric)}", _metric_table(block, metric)]
    parts += ["## Claimed privacy", _claims_table(report.promises)]
    if report.recoveries:
        parts += ["## Images recovered, and what the guarantees allow", _recoveries_table(report.recoveries)]
    parts += ["## Utility", _utility_table(report.trained)] if report.trained else []
    for plot in report.plots:
        parts += [f"### {_escaped(plot.title)}", _tradeoff_table(plot)]
    return "\n\n".join(parts) + "\n"


def labels_csv(manifest: Manifest, cells: Sequence[Cell]) -> str:
    """CSV with one row for every class that an attack found in an update whose truth is not known; empty without any."""
    by_key = {cell.key: cell.labels for cell in cells}
    rows = [
        (place.setting, place.threat, place.defense, place.attack, str(place.trial), found.client, name, str(count))
        for place in manifest.places
        if (found := by_key.get(place.key)) is not None
        for name, count in found.counts
    ]
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("setting", "threat", "defense", "attack", "trial", "client", "class", "count"))
    writer.writerows(map(_neutral, row) for row in rows)
    return text.getvalue()


def utility_csv(manifest: Manifest, cells: Sequence[Cell]) -> str:
    """CSV with one row for every number of every training, floats in full precision; one row says why there is none."""
    by_key = {cell.key: cell for cell in cells}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("setting", "defense", "repeat", "quantity", "value", "status", "note", "seed", "key", "code"))
    for place in manifest.trainings:
        cell = by_key.get(place.key)
        writer.writerows(_utility_row(place, cell, *pair) for pair in _quantities(cell))
    return text.getvalue()


def _quantities(cell: Cell | None) -> list[tuple[str, str]]:
    if cell is None or cell.utility is None:
        return [("accuracy", "")]
    numbers = [(field, str(value)) for field, value in vars(cell.utility).items()]
    return numbers + ([("epsilon", repr(cell.claim.epsilon)), ("delta", repr(cell.claim.delta))] if cell.claim else [])


def _utility_row(place: Place, cell: Cell | None, quantity: str, value: str) -> tuple[str, ...]:
    named = (_neutral(place.setting), _neutral(place.defense), str(place.trial), quantity, value)
    if cell is None:
        return (*named, "missing", "not computed yet", "", _neutral(place.key), "")
    note = last_line(cell.note) or cell.unclaimed
    return (*named, cell.status, _neutral(note), str(cell.seed), _neutral(place.key), _neutral(cell.code))


def _csv_row(reading: Reading, guesser: str) -> tuple[str, ...]:
    place, score, cell = reading.place, reading.score, reading.cell
    value, floor, decoy, chance, worst = (None,) * 5
    if score is not None:
        value, decoy, worst, (floor,) = score.value, score.decoy, score.worst, guesses_by([score], guesser)
        chance = chance_of(score)
    return (
        *(_neutral(text) for text in (place.setting, place.threat, place.defense, place.attack)),
        str(place.trial),
        _neutral(reading.metric),
        *(_float(number) for number in (value, floor)),
        _neutral(guesser) if floor is not None else "",
        *(_float(number) for number in (decoy, chance, worst)),
        score.better if score else "",
        reading.state,
        _neutral(reading.note),
        str(score.n) if score else "",
        repr(float(cell.seconds)) if cell else "",
        str(cell.seed) if cell else "",
        _neutral(place.key),
        _neutral(cell.code) if cell else "",
        *_recovery(cell),
    )


def _recovery(cell: Cell | None) -> tuple[str, ...]:
    """Images recovered and tried, the blind guesser's limit, and the bound; the same for every metric of a cell."""
    found = None if cell is None else cell.recovery
    if found is None:
        return ("",) * 4
    return (str(found.recovered), str(found.images), _float(found.kappa), _float(found.bound))


def _float(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _neutral(text: str) -> str:
    """`text`, which no spreadsheet will take for a formula."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip(" ").startswith(_FORMULA) else shown


def _escaped(text: str) -> str:
    """`text` without a table, a link or markup of its own."""
    return visible(text).translate(_MARKUP).replace("](", "]\\(")


def _verdict_parts(verdict: Verdict) -> list[str]:
    parts = [f"**{_escaped(verdict.headline)}**"]
    if verdict.problems:
        parts.append(_statements(verdict.problems))
    for section in verdict.sections:
        parts += [f"**{_escaped(section.setting)}, {_escaped(section.threat)}**", _statements(section.statements)]
    return parts + [f"> {_escaped(caveat)}" for caveat in verdict.caveats]


def _statements(statements: Sequence[Statement]) -> str:
    return "\n".join(
        line
        for each in statements
        for line in (
            f"- **{_escaped(each.subject)}**: {_escaped(each.text)}",
            *(f"  - {_escaped(point)}" for point in each.points),
        )
    )


def _direction(block: Block, metric: str) -> str:
    better = next((finding.better for finding in block.findings if finding.metric == metric and finding.better), "")
    return f" ({better} means more leaked)" if better else ""


def _defenses_table(lines: Sequence[DefenseLine]) -> str:
    rows = [
        (
            *(line.setting, line.threat, line.defense, line.fate, line.labels, line.pictures),
            "not measured" if line.accuracy is None else interval(line.accuracy),
            line.epsilon,
        )
        for line in lines
    ]
    head = ("setting", "threat", "defense", "verdict", "labels", "pictures", "accuracy it leaves", "claimed epsilon")
    return _table(head, rows)


def _labels_table(told: Sequence[Told]) -> str:
    rows = [(each.client, each.place.defense, each.place.attack, each.words) for each in told]
    return _table(("client", "defense", "attack", "labels"), rows)


def _metric_table(block: Block, metric: str) -> str:
    rows = [
        (attack, *(_words(block.of(defense, attack, metric)) for defense in block.defenses)) for attack in block.attacks
    ]
    return _table(("attack", *block.defenses), rows)


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
            [(bound(claim.epsilon), bound(claim.delta), claim.statement) for claim in promise.claims]
            or [("", "", promise.words)]
        )
    ]
    return _table(("setting", "defense", "epsilon", "delta", "statement"), rows)


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
    return _table(head, rows)


def _utility_table(trained: Sequence[Trained]) -> str:
    rows = [
        (row.setting, row.defense, row.reason, "", "", "", "", "")
        if row.accuracy is None or row.floor is None
        else (
            *(row.setting, row.defense, f"{interval(row.accuracy)}, n = {row.accuracy.n}{row.gaps}"),
            *(number(row.floor), f"{row.sent:,.0f}", f"{row.seconds:.3g}", row.privacy, row.how),
        )
        for row in trained
    ]
    head = ("setting", "defense", "held-out accuracy", "before training", "bytes", "seconds", "epsilon", "training")
    return _table(head, rows)


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
    return _table(("", "defense", "held-out accuracy", "leak", "strongest attack", "epsilon", "Pareto front"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)
