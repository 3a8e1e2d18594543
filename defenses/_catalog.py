"""Entries found by their files: a package's modules without a leading underscore hold one entry each."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def catalog(package: ModuleType, kind: type) -> dict[str, type]:
    """The one subclass of `kind` that each public module of `package` defines, by module name, sorted.

    Raises: TypeError, if a module defines no entry or several.
    """
    found = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        entries = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
        ]
        if len(entries) != 1:
            raise TypeError(f"{module.__name__} must define one {kind.__name__}, found {len(entries)}")
        found[info.name] = entries[0]
    return found
