"""What has no number, and why: said before anything else, because a gap is not a result."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..row import Place
from .grid import Reading, State, unique
from .text import brief, counted

WHOLE = 400  # characters of a reason that may hold a command to copy
NAMED = 5  # reasons and places printed before "and more"; the coverage table has them all


@dataclass(frozen=True)
class Statement:
    """One thing said of the audit: what it is about, and what is said of it."""

    subject: str
    text: str
    points: tuple[str, ...] = ()  # the numbers behind it
    tone: str = "undecided"  # or "leaks", or "held"


def problems(readings: Sequence[Reading], trainings: Sequence[Reading] = ()) -> tuple[Statement, ...]:
    """Failed and missing cells, then metrics without a number, then what does not apply; empty without any."""
    planned = (*readings, *trainings)
    total = len({reading.place for reading in planned})
    found = [
        _cells(planned, "failed", total, "failed"),
        _absent(planned, total),
        *_metrics(readings, "failed", "failed"),
        *_metrics(readings, "nan", "not a finite number"),
        *_metrics(readings, "missing", "missing"),
        *_metrics(readings, "unavailable", "unavailable"),
        _cells(planned, "n/a", total, "not applicable"),
    ]
    return tuple(statement for statement in found if statement is not None)


def _cells(readings: Sequence[Reading], status: str, total: int, words: str) -> Statement | None:
    """The cells of a status, each with its reason; reasons that several cells share are said once."""
    notes = {r.place: r.note for r in readings if r.cell is not None and r.cell.status == status}
    if not notes:
        return None
    reasons = {reason: [place for place, note in notes.items() if note == reason] for reason in unique(notes.values())}
    named = [f"{_where(places)}: {brief(reason) or 'no reason given'}" for reason, places in reasons.items()]
    return Statement(f"{len(notes)} of {counted(total, 'cell')} {words}", _cut(named))


def _absent(readings: Sequence[Reading], total: int) -> Statement | None:
    places = unique(reading.place for reading in readings if reading.cell is None)
    if not places:
        return None
    return Statement(f"{len(places)} of {counted(total, 'cell')} not computed yet", f"{_where(places)}; partial report")


def _metrics(readings: Sequence[Reading], state: State, words: str) -> list[Statement]:
    """One statement for each metric that lacks numbers in cells that were computed."""
    found = [r for r in readings if r.state == state and r.cell is not None and r.cell.status == "ok"]
    statements = []
    for metric in unique(reading.metric for reading in found):
        mine = [reading for reading in found if reading.metric == metric]
        reasons = unique(brief(reading.note, WHOLE) for reading in mine if reading.note)
        subject = f"{metric} {words} in {counted(len(mine), 'cell')}"
        statements.append(Statement(subject, _cut(reasons) or _where(unique(reading.place for reading in mine))))
    return statements


def _where(places: Sequence[Place]) -> str:
    if len(places) == 1:
        return f"{places[0].attack} through {places[0].defense}, trial {places[0].trial}"
    attacks, defenses = unique(place.attack for place in places), unique(place.defense for place in places)
    by = attacks[0] if len(attacks) == 1 else counted(len(attacks), "attack")
    through = defenses[0] if len(defenses) == 1 else counted(len(defenses), "defense")
    return f"{by} through {through}, {len(places)} cells"


def _cut(items: Sequence[str]) -> str:
    more = f"; and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more
