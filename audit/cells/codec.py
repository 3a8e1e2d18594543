"""Records (dataclasses of literals) as strict JSON values and back, by their type hints.

JSON has no NaN and no infinity: a field of type float holds them as text, so they return as what they were.
"""

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_plain(value: Any, hint: Any, where: str) -> Any:
    """`value`, of type `hint`, as JSON data. Raises: TypeError, naming the place `where` the type is not kept."""
    if hint is float:
        exact = float(value) if type(value) is int and abs(value) <= 2**53 else value
        return _plain_float(float(_of_type(exact, float, where)))
    if isinstance(hint, type) and is_dataclass(hint):
        _of_type(value, hint, where)
        return {name: to_plain(getattr(value, name), kind, f"{where}.{name}") for name, kind in _hints(hint).items()}
    return _rebuild(value, hint, where, to_plain, tuple, list)


def from_plain(value: Any, hint: Any, where: str) -> Any:
    """The value of type `hint` that JSON data stands for. Raises: TypeError, as `to_plain` does."""
    if hint is float:
        return _of_type(_NOT_FINITE.get(value, value) if isinstance(value, str) else value, float, where)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = _hints(hint)
        if set(_of_type(value, dict, where)) != set(hints):
            raise TypeError(f"{where} has the fields {sorted(value)}, expected {sorted(hints)}")
        return hint(**{name: from_plain(value[name], kind, f"{where}.{name}") for name, kind in hints.items()})
    return _rebuild(value, hint, where, from_plain, list, tuple)


def _rebuild(value: Any, hint: Any, where: str, convert: Callable[..., Any], source: type, target: type) -> Any:
    """What both directions share: literals stand for themselves, sequences and optional values go part by part."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        (inner,) = [argument for argument in arguments if argument is not NoneType]
        return None if value is None else convert(value, inner, where)
    if origin is Literal:
        if value not in arguments:
            raise TypeError(f"{where} is {value!r:.60}, expected one of {arguments}")
        return value
    if origin is tuple:
        parts = _of_type(value, source, where)
        kinds = arguments[:1] * len(parts) if arguments[-1] is Ellipsis else arguments
        if len(parts) != len(kinds):
            raise TypeError(f"{where} has {len(parts)} parts, expected {len(kinds)}")
        return target(map(convert, parts, kinds, (f"{where}[{i}]" for i in range(len(parts)))))
    return _of_type(value, hint, where)


def _of_type(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{where} is of type {type(value).__name__}, expected {kind.__name__}")
    return value


def _plain_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


@cache
def _hints(record: type) -> dict[str, Any]:
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(record)}
