"""Privacy audits for federated learning: how much private data do the gradients give away?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attacks import Attack, Reconstruction, Space, View
    from .audit.api import Results, audit, spec
    from .audit.data import Data
    from .audit.metrics import Metric
    from .audit.models import Model
    from .audit.recordings.write import record
    from .common.entry import entry
    from .common.errors import InputError
    from .defenses import Defense
    from .recipes import Recipe

_HOMES = {
    "audit": "",
    "spec": "audit.api",
    "record": "audit.recordings.write",
    "Results": "audit.api",
    "InputError": "common.errors",
    "View": "attacks",
    "Space": "attacks",
    "Recipe": "recipes",
    "Reconstruction": "attacks",
    "Attack": "attacks",
    "Defense": "defenses",
    "Metric": "audit.metrics",
    "Data": "audit.data",
    "Model": "audit.models",
    "entry": "common.entry",
}
"""Where each public name lives. They are loaded when they are asked for: what they need takes seconds to import."""

__all__ = [
    "Attack",
    "Data",
    "Defense",
    "InputError",
    "Metric",
    "Model",
    "Recipe",
    "Reconstruction",
    "Results",
    "Space",
    "View",
    "audit",
    "entry",
    "record",
    "spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(import_module(f"{__name__}.{home}"), name) if home else import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
