"""results.csv, one row a number; utility.csv and labels.csv, where there are trainings and labels that nothing scores."""

import csv
import io
from collections.abc import Iterator, Sequence

from seethrough.common.console import visible

from .findings.evidence import chance_of, guesses_by
from .findings.grid import Reading, grouped, strongest_guesser
from .findings.text import last_line
from .row import Cell, Manifest, Place

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


def results_csv(readings: Sequence[Reading]) -> str:
    """CSV with one row for every planned number, floats in full precision. `floor` is what the blind guesser gets in the trial
    who does best over all trials of the combination; `chance` is the mean over other private batches in the truth's place."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_spelled, row) for row in number_rows(readings))
    return text.getvalue()


def number_rows(readings: Sequence[Reading]) -> Iterator[tuple[str | int | float | None, ...]]:
    """One row for every planned number, by `COLUMNS`; None where there is nothing."""
    guessers = {
        path: strongest_guesser(
            [reading.score for reading in group if reading.state == "ok" and reading.score is not None]
        )
        for path, group in grouped(readings).items()
    }
    return (_number_row(reading, guessers[reading.path]) for reading in readings)


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
    writer.writerows(map(neutral, row) for row in rows)
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
    named = (neutral(place.setting), neutral(place.defense), str(place.trial), quantity, value)
    if cell is None:
        return (*named, "missing", "not computed yet", "", neutral(place.key), "")
    note = last_line(cell.note) or cell.unclaimed
    return (*named, cell.status, neutral(note), str(cell.seed), neutral(place.key), neutral(cell.code))


def _number_row(reading: Reading, guesser: str) -> tuple[str | int | float | None, ...]:
    place, score, cell = reading.place, reading.score, reading.cell
    value, floor, decoy, chance, worst = (None,) * 5
    if score is not None:
        value, decoy, worst, (floor,) = score.value, score.decoy, score.worst, guesses_by([score], guesser)
        chance = chance_of(score)
    found = None if cell is None else cell.recovery  # the same for every metric of a cell
    return (
        *(place.setting, place.threat, place.defense, place.attack, place.trial, reading.metric),
        *(_float(value), _float(floor), guesser if floor is not None else None),
        *(_float(decoy), _float(chance), _float(worst), score.better if score else None),
        *(reading.state, reading.note, score.n if score else None),
        *((float(cell.seconds), cell.seed) if cell else (None, None)),
        *(place.key, cell.code if cell else None),
        *((None, None) if found is None else (found.recovered, found.images)),
        *((None, None) if found is None else (_float(found.kappa), _float(found.bound))),
    )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _spelled(value: str | int | float | None) -> str:
    """A value in a CSV: floats in full precision, and no text that a spreadsheet would compute."""
    if isinstance(value, str):
        return neutral(value)
    return "" if value is None else repr(value)


def neutral(text: str) -> str:
    """`text`, which no spreadsheet will take for a formula."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip(" ").startswith(_FORMULA) else shown
