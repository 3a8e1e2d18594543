"""The kinds of entries: where each has its room, and what it derives from."""

from collections.abc import Iterator
from types import ModuleType

from seethrough import attacks, defenses
from seethrough.attacks import Attack
from seethrough.common.catalog import Catalog, Origin, catalog
from seethrough.defenses import Chain, Defense, Mixture

from .. import data, metrics, models, weights
from ..data import Data
from ..metrics import Metric
from ..models import Model
from ..weights import Weights

KINDS: dict[str, tuple[ModuleType, type]] = {
    "attacks": (attacks, Attack),
    "defenses": (defenses, Defense),
    "models": (models, Model),
    "weights": (weights, Weights),
    "data": (data, Data),
    "metrics": (metrics, Metric),
}


def entries_of(kind: str) -> Catalog:
    """The entries of one kind, other packages' included."""
    return catalog(*KINDS[kind])


def problems() -> tuple[str, ...]:
    """One sentence for each entry of another package that could not be had."""
    return tuple(problem for kind in KINDS for problem in entries_of(kind).problems)


def origins(values: tuple[object, ...]) -> Iterator[Origin]:
    """Where those of the entries come from that are not ours; of a chain or a mixture, its parts."""
    for value in values:
        if isinstance(value, Chain | Mixture):
            yield from origins(value.parts)
        for kind in KINDS:
            if type(value) in entries_of(kind).origins:
                yield entries_of(kind).origins[type(value)]
