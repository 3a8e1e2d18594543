"""What Dask carries: a function by its name and plain text, so that neither its scheduler nor ours ships code or objects."""

from importlib import import_module
from typing import Any


def named(name: str) -> Any:
    """What `package.module:name` names. Raises: ImportError; AttributeError."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def call(name: str, *arguments: Any) -> Any:
    """What the function returns that `package.module:name` names. The scheduler imports this module, and no heavier one."""
    return named(name)(*arguments)
