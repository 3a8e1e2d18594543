"""What is remarked of measured numbers, each thing once: in how many trials, and from which number to which."""

import re
from collections.abc import Iterable, Mapping, Sequence

from .findings.grid import Reading

MOST = 3  # that are said of one table
DECIMAL = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?![\w.])")


def remarks(readings: Iterable[Reading]) -> Mapping[tuple[str, str, str], Sequence[str]]:
    """By setting, threat model and metric, the remarks on all trials that were measured. Those that differ in decimal numbers
    alone are one, with the smallest and the largest."""
    notes: dict[tuple[str, str, str], list[str]] = {}
    for each in readings:
        if each.state == "ok" and each.score is not None:
            notes.setdefault((each.place.setting, each.place.threat, each.metric), []).append(each.score.note)
    return {path: _once(found) for path, found in notes.items()}


def _once(notes: Sequence[str]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for note in notes:
        for remark in filter(None, note.split("; ")):
            alike.setdefault(DECIMAL.sub("", remark), []).append(remark)
    said = [
        _merged(found) if len(found) == len(notes) else f"{_merged(found)} (in {len(found)} of {len(notes)} trials)"
        for found in alike.values()
    ]
    more = len(said) - MOST
    return said if more <= 0 else [*said[:MOST], f"and {more} more, in results.csv"]


def _merged(found: Sequence[str]) -> str:
    """Remarks that differ in numbers alone, as one."""
    columns = iter(zip(*map(DECIMAL.findall, found), strict=True))
    return DECIMAL.sub(lambda _: _range(next(columns)), found[0])


def _range(numbers: Sequence[str]) -> str:
    least, most = min(numbers, key=float), max(numbers, key=float)
    return least if least == most else f"{least} to {most}"
