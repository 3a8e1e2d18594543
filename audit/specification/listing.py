"""What can stand in a spec: every entry with its parameters and one line."""

import dataclasses
from types import ModuleType

from rich.markup import escape
from rich.table import Table

from seethrough import attacks, defenses
from seethrough.attacks import Attack
from seethrough.common.catalog import catalog
from seethrough.defenses import Defense

from .. import data, metrics, models, weights
from ..data import Data
from ..metrics import Metric
from ..models import Model
from ..weights import Weights
from .entries import default_of

KINDS: dict[str, tuple[ModuleType, type]] = {
    "attacks": (attacks, Attack),
    "defenses": (defenses, Defense),
    "models": (models, Model),
    "weights": (weights, Weights),
    "data": (data, Data),
    "metrics": (metrics, Metric),
}


def listing(kind: str) -> Table:
    """The entries of one kind as a table."""
    package, base = KINDS[kind]
    table = Table(
        "name", "parameters and their defaults", "what it is", title=kind, title_justify="left", show_lines=True
    )
    for name, cls in catalog(package, base).entries.items():
        headline = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        table.add_row(name, escape("\n".join(_parameters(cls))), escape(headline))
    return table


def _parameters(cls: type) -> list[str]:
    return [
        field.name if default is dataclasses.MISSING else f"{field.name} = {default!r}"
        for field, default in ((field, default_of(field)) for field in dataclasses.fields(cls))
    ]
