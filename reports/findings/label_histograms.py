"""Labels class by class, over all trials of a combination: how many there were, and how many of them were found."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..row import Cell, ClassCount, LabelCounts, Manifest


@dataclass(frozen=True)
class ClassTotal:
    """One class over all trials. What is right is counted batch by batch: the lesser of true and found."""

    number: int
    name: str
    true: int
    right: int  # of what was found
    wrong: int
    guessed: int  # of the true ones, by the guesser


@dataclass(frozen=True)
class LabelHistogram:
    """The classes of one attack through one defense."""

    setting: str
    threat: str
    defense: str
    attack: str
    of: str  # whose labels they are: "client" or "cohort"
    guesser: str
    batches: int
    classes: tuple[ClassTotal, ...]  # in the order of the data

    def total(self, part: str) -> int:
        """The sum of "true", "right", "wrong" or "guessed" over all classes."""
        return sum(getattr(each, part) for each in self.classes)


def label_histograms(manifest: Manifest, cells: Sequence[Cell]) -> tuple[LabelHistogram, ...]:
    """One for each setting, threat model, defense and attack, in the order of the spec, where the truth is known and labels
    were found; another one where some trials are of a client alone, and some of a sum."""
    by_key = {cell.key: cell.label_counts for cell in cells}
    groups: dict[tuple[str, str, str, str, str, str], list[LabelCounts]] = {}
    for place in manifest.places:
        if (counts := by_key.get(place.key)) is not None:
            path = (place.setting, place.threat, place.defense, place.attack, counts.of, counts.guesser)
            groups.setdefault(path, []).append(counts)
    return tuple(LabelHistogram(*path, batches=len(group), classes=_totals(group)) for path, group in groups.items())


def _totals(group: Sequence[LabelCounts]) -> tuple[ClassTotal, ...]:
    classes: dict[int, list[ClassCount]] = {}
    for each in (each for counts in group for each in counts.classes):
        classes.setdefault(each.number, []).append(each)
    return tuple(_total(classes[number]) for number in sorted(classes))


def _total(counts: Sequence[ClassCount]) -> ClassTotal:
    right, found = sum(min(each.true, each.found) for each in counts), sum(each.found for each in counts)
    return ClassTotal(
        number=counts[0].number,
        name=counts[0].name,
        true=sum(each.true for each in counts),
        right=right,
        wrong=found - right,
        guessed=sum(min(each.true, each.guessed) for each in counts),
    )
