"""Pictures of what was private, what was found, and what the decoy control found."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from ..findings.grid import Reading
from ..findings.intervals import finite
from ..row import Pictures, Place, Score

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Example:
    """One example of a batch as `data:` URIs, None where there is no picture."""

    original: str | None
    found: str | None
    decoy: str | None


@dataclass(frozen=True)
class Figure:
    """The pictures of one cell."""

    place: Place
    examples: tuple[Example, ...]
    scores: tuple[Score, ...]  # those with a number


def first_figures(readings: Sequence[Reading]) -> tuple[Figure, ...]:
    """For each attack through each defense, in each setting and threat model, the first trial that has pictures."""
    found: dict[tuple[str, ...], Figure] = {}
    for reading in sorted(readings, key=lambda reading: reading.place.trial):
        place, cell = reading.place, reading.cell
        path = (place.setting, place.threat, place.defense, place.attack)
        if cell is not None and cell.pictures is not None and path not in found:
            scores = tuple(score for score in cell.scores if score.status == "ok" and finite(score.value))
            found[path] = Figure(place, _examples(cell.pictures), scores)
    return tuple(found.values())


def _examples(pictures: Pictures) -> tuple[Example, ...]:
    count = max(len(pictures.original), len(pictures.found), len(pictures.decoy))
    columns = [_uris(row, count) for row in (pictures.original, pictures.found, pictures.decoy)]
    return tuple(Example(*row) for row in zip(*columns, strict=True))


def _uris(pictures: Sequence[str], count: int) -> list[str | None]:
    return [_uri(picture) for picture in pictures] + [None] * (count - len(pictures))


def _uri(picture: str) -> str | None:
    """`picture` as a `data:` URI, if it is a PNG in base64 and nothing else."""
    try:
        decoded = base64.b64decode(picture, validate=True)
    except (binascii.Error, ValueError):
        return None
    return f"data:image/png;base64,{picture}" if decoded.startswith(_PNG) else None
