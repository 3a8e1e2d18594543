"""What can stand in a spec: every entry with its parameters and one line."""

import dataclasses
from types import ModuleType

from rich.markup import escape
from rich.table import Table

import attacks
import audit.data
import audit.metrics
import audit.models
import audit.weights
import defenses
from attacks import Attack
from audit._entries import default_of
from audit.data import Data
from audit.metrics import Metric
from audit.models import Model
from audit.weights import Weights
from defenses import Defense
from defenses._catalog import catalog

KINDS: dict[str, tuple[ModuleType, type]] = {
    "attacks": (attacks, Attack),
    "defenses": (defenses, Defense),
    "models": (audit.models, Model),
    "weights": (audit.weights, Weights),
    "data": (audit.data, Data),
    "metrics": (audit.metrics, Metric),
}


def listing(kind: str) -> Table:
    """The entries of one kind as a table."""
    package, base = KINDS[kind]
    table = Table(
        "name", "parameters and their defaults", "what it is", title=kind, title_justify="left", show_lines=True
    )
    for name, cls in catalog(package, base).items():
        headline = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        table.add_row(name, escape("\n".join(_parameters(cls))), escape(headline))
    return table


def _parameters(cls: type) -> list[str]:
    return [
        field.name if default is dataclasses.MISSING else f"{field.name} = {default!r}"
        for field, default in ((field, default_of(field)) for field in dataclasses.fields(cls))
    ]
