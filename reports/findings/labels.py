"""Labels that were found in updates whose truth is not known: told, since nothing scores them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..row import Cell, Manifest, Place
from .text import listed


@dataclass(frozen=True)
class Told:
    """What one attack found in one client's update."""

    place: Place
    client: str
    words: str


def told_labels(manifest: Manifest, cells: Sequence[Cell]) -> tuple[Told, ...]:
    """One for each trial whose labels are not scored, in the order of the spec."""
    by_key = {cell.key: cell.labels for cell in cells}
    found = [(place, by_key.get(place.key)) for place in manifest.places]
    return tuple(
        Told(place, labels.client, listed([f"{count} of {name}" for name, count in labels.counts]))
        for place, labels in found
        if labels is not None
    )
