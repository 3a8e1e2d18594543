"""Which defense or attack of one run stands for which of another: that of the same name, or, where each run has only one that
the other lacks, that of the same kind with other parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..row import Manifest
from .significance import Path


@dataclass(frozen=True)
class Counterparts:
    """The names of the second run, as the first one calls what they stand for."""

    defenses: Mapping[str, str]
    attacks: Mapping[str, str]

    def path(self, path: Path) -> Path:
        """A path of the second run, by the names of the first."""
        setting, threat, defense, attack, metric = path
        return setting, threat, self.defenses.get(defense, defense), self.attacks.get(attack, attack), metric

    @property
    def words(self) -> tuple[str, ...]:
        """What was compared with what, where the names differ."""
        pairs = {**self.defenses, **self.attacks}
        return tuple(f"compared with each other: {ours} and {theirs}" for theirs, ours in pairs.items())


def counterparts(first: Manifest, second: Manifest) -> Counterparts:
    """The counterparts of what two runs planned."""
    return Counterparts(
        _paired((at.defense for at in first.places), (at.defense for at in second.places)),
        _paired((at.attack for at in first.places), (at.attack for at in second.places)),
    )


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
