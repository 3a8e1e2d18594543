"""Where entries are found: the modules of a room, one each, and the entry points of installed packages.

A room's own entries are its public modules. Another package adds some by the entry-point group that is named like the room:
`seethrough.attacks`, `.defenses`, `.metrics`, `.data`, `.models` and `.weights`.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from .user_sources import code_of


@dataclass(frozen=True)
class Origin:
    """Which package an entry comes from, if it is not ours."""

    package: str
    version: str
    code: str  # SHA-256 of the entry's module and of what it imports that is not installed

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.code[:12]})"


@dataclass(frozen=True)
class Catalog:
    """The entries of one kind by name, sorted; where foreign ones come from; a sentence for each that could not be had."""

    entries: dict[str, type]
    origins: dict[type, Origin]
    problems: tuple[str, ...]


@cache
def catalog(package: ModuleType, kind: type) -> Catalog:
    """The subclasses of `kind` that `package` defines, one a public module, and those that installed packages add.

    Raises: TypeError, if a module of ours defines no entry or several.
    """
    entries = {module.__name__.rpartition(".")[2]: _only_entry(module, kind) for module in _modules(package)}
    origins: dict[type, Origin] = {}
    problems = []
    for point in sorted(entry_points(group=group_of(package)), key=lambda point: point.name):
        try:
            cls = _added(point, kind, entries)
        except (Exception, SystemExit) as error:  # whatever another's code raises
            problems.append(f"{_written(point)}: {type(error).__name__}: {error}; it is left out.")
            continue
        entries[point.name] = cls
        origins[cls] = _origin(point, cls)
        _NAMES[cls] = point.name
    return Catalog(dict(sorted(entries.items())), origins, tuple(problems))


_NAMES: dict[type, str] = {}
"""What entries of other packages are called: by their entry points."""


def name_of(cls: type) -> str:
    """The name of an entry in a spec: that of the file which defines it, or of its entry point."""
    return _NAMES.get(cls) or cls.__module__.rpartition(".")[2]


def group_of(package: ModuleType) -> str:
    """The entry-point group that adds to a room."""
    return f"seethrough.{package.__name__.rpartition('.')[2]}"


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(package.__path__):
        if not info.ispkg and not info.name.startswith("_"):
            yield importlib.import_module(f"{package.__name__}.{info.name}")


def _only_entry(module: ModuleType, kind: type) -> type:
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    found = [cls for cls in own if issubclass(cls, kind)]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define one {kind.__name__}, found {len(found)}")
    return found[0]


def _added(point: EntryPoint, kind: type, known: dict[str, type]) -> type:
    if point.name in known:
        raise ValueError(f"`{point.name}` is taken")
    cls = point.load()
    if not isinstance(cls, type) or not issubclass(cls, kind) or not hasattr(cls, "__pydantic_fields__"):
        raise TypeError(f"found {cls!r:.80}; allowed: a subclass of {kind.__name__}, decorated with @entry")
    return cls


def _origin(point: EntryPoint, cls: type) -> Origin:
    package = point.dist
    name, version = (package.name, package.version) if package else ("unknown", "unknown")
    return Origin(name, version, code_of(cls.__module__))


def _written(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'a package'}, entry point {point.group} {point.name} = {point.value}"
