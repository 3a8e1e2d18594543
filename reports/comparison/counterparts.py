"""Which defense of one run stands for which of another: that of the same name, or, where each run has only one that the other
lacks, that of the same kind with other parameters. Attacks have none: a weaker one would look like a better defense."""

from collections.abc import Iterable

from ..row import Manifest


def counterparts(first: Manifest, second: Manifest) -> dict[str, str]:
    """The defenses of the second run that go by another name, and what the first one calls what they stand for."""
    return _paired((at.defense for at in first.places), (at.defense for at in second.places))


def _paired(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    first, second = dict.fromkeys(ours), dict.fromkeys(theirs)
    alone = [name for name in first if name not in second], [name for name in second if name not in first]
    kinds = [[_kind(name) for name in names] for names in alone]
    return {
        name: alone[0][kinds[0].index(kind)]
        for name, kind in zip(alone[1], kinds[1], strict=True)
        if kinds[0].count(kind) == kinds[1].count(kind) == 1
    }


def _kind(name: str) -> tuple[str, ...]:
    """The names of the parts of a chain, without their parameters."""
    return tuple(part.partition("(")[0] for part in name.split(" + "))
