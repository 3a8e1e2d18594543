"""What code the user's own module is made of: its file and those that it imports, as far as they are the user's."""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from .user_code import is_the_users, look_here_for


@cache
def code_of(module: str) -> str:
    """SHA-256 of the code of `module` and of every module that it imports, anywhere in it and through others, except what is
    installed or ours. Comments and layout do not enter it; what is imported under a computed name is not seen.

    It stands beside what a model is seen to compute: a branch that the probe does not take decides numbers too.
    """
    look_here_for(module)
    sources = {name: file for name, file in _reached(module).items() if name == module or is_the_users(file)}
    digest = hashlib.sha256()
    for name, file in sorted(sources.items()):
        digest.update(f"{name}\0{_meaning(file)}\0".encode())
    return digest.hexdigest()


def _reached(module: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = None if name in found else _file(name)
        if file is None:
            continue
        found[name] = file
        if name == module or is_the_users(file):
            waiting += _imported(file, name if file.name == "__init__.py" else name.rpartition(".")[0])
    return found


def _imported(file: Path, package: str) -> Iterator[str]:
    """The dotted names that may be modules, with the packages around them."""
    tree = _tree(file)
    for node in ast.walk(tree) if tree else ():
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = package.split(".") if package else []
            above = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _file(name: str) -> Path | None:
    """The file of a module, imported or not; None for what is no module or has no file. Imports nothing."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
        return Path(file) if file else None
    path, spec = None, None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and end < len(parts):
            return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def _meaning(file: Path) -> str:
    tree = _tree(file)
    return ast.dump(tree) if tree else hashlib.sha256(file.read_bytes()).hexdigest()


def _tree(file: Path) -> ast.Module | None:
    """The syntax of Python, without positions; None for anything else, a file that Python cannot parse included."""
    if file.suffix != ".py":
        return None
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # one that is imported only where an exception is caught, or never
        return None
