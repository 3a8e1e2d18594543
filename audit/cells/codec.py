"""Records (dataclasses of literals) as strict JSON values and back, by their type hints.

JSON has no NaN and no infinity: a field of type float holds them as text, so they return as what they were. A type's hints are
looked at once: reports read tens of thousands of records.
"""

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

LARGEST = 10**30  # whole number that is kept: what is reckoned with as a float must be one
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

Where = str | tuple[Any, str | int]
"""The place of a value: the record's name, or a place and the field or position in what is there."""
Convert = Callable[[Any, Where], Any]


def to_plain(value: Any, hint: Any, where: str) -> Any:
    """`value`, of type `hint`, as JSON data. Raises: TypeError, naming the place `where` the type is not kept."""
    return _converter(hint, False)(value, where)


def from_plain(value: Any, hint: Any, where: str) -> Any:
    """The value of type `hint` that JSON data stands for. Raises: TypeError, as `to_plain` does."""
    return _converter(hint, True)(value, where)


@cache
def _converter(hint: Any, reading: bool) -> Convert:
    """What converts values of type `hint`: literals stand for themselves, sequences and optional values go part by part."""
    if hint is float:
        return _read_float if reading else _plain_float
    if hint is int:
        return _whole
    if isinstance(hint, type) and is_dataclass(hint):
        return _record_reader(hint) if reading else _record_writer(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        (inner,) = [argument for argument in arguments if argument is not NoneType]
        convert = _converter(inner, reading)
        return lambda value, where: None if value is None else convert(value, where)
    if origin is Literal:
        return lambda value, where: value if value in arguments else _refuse_choice(value, arguments, where)
    if origin is tuple and arguments[-1] is Ellipsis:
        return _sequence(arguments[0], reading, *((list, tuple) if reading else (tuple, list)))
    if origin is tuple:
        return _fixed([_converter(each, reading) for each in arguments], *((list, tuple) if reading else (tuple, list)))
    return lambda value, where: value if type(value) is hint else _of_type(value, hint, where)


def _sequence(item: Any, reading: bool, source: type, target: type) -> Convert:
    convert, as_they_are = _converter(item, reading), {item} if item is str or (item is float and reading) else set()

    def converted(value: Any, where: Where) -> Any:
        parts = _of_type(value, source, where)
        if set(map(type, parts)) == as_they_are:  # most of a cell is numbers
            return target(parts)
        return target([convert(part, (where, position)) for position, part in enumerate(parts)])

    return converted


def _fixed(converts: list[Convert], source: type, target: type) -> Convert:
    def converted(value: Any, where: Where) -> Any:
        if len(_of_type(value, source, where)) != len(converts):
            raise TypeError(f"{_said(where)} has {len(value)} parts, expected {len(converts)}")
        parts = zip(converts, value, strict=True)
        return target([convert(part, (where, position)) for position, (convert, part) in enumerate(parts)])

    return converted


def _record_reader(kind: type) -> Convert:
    converts = _fields(kind, True)

    def read(value: Any, where: Where) -> Any:
        if _of_type(value, dict, where).keys() != converts.keys():
            raise TypeError(f"{_said(where)} has the fields {sorted(value)}, expected {sorted(converts)}")
        return kind(**{name: convert(value[name], (where, name)) for name, convert in converts.items()})

    return read


def _record_writer(kind: type) -> Convert:
    converts = _fields(kind, False)

    def written(value: Any, where: Where) -> Any:
        _of_type(value, kind, where)
        return {name: convert(getattr(value, name), (where, name)) for name, convert in converts.items()}

    return written


def _fields(kind: type, reading: bool) -> dict[str, Convert]:
    hints = get_type_hints(kind)
    return {field.name: _converter(hints[field.name], reading) for field in fields(kind)}


def _whole(value: Any, where: Where) -> int:
    if abs(_of_type(value, int, where)) > LARGEST:
        raise TypeError(f"{_said(where)} is beyond {LARGEST:.0e}")
    return value


def _read_float(value: Any, where: Where) -> float:
    if type(value) is float:
        return value
    return _of_type(_NOT_FINITE.get(value, value) if isinstance(value, str) else value, float, where)


def _plain_float(value: Any, where: Where) -> float | str:
    exact = float(value) if type(value) is int and abs(value) <= 2**53 else value
    number = float(_of_type(exact, float, where))
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def _of_type(value: Any, kind: type, where: Where) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{_said(where)} is of type {type(value).__name__}, expected {kind.__name__}")
    return value


def _refuse_choice(value: Any, allowed: tuple[Any, ...], where: Where) -> NoReturn:
    raise TypeError(f"{_said(where)} is {value!r:.60}, expected one of {allowed}")


def _said(where: Where) -> str:
    if isinstance(where, str):
        return where
    return f"{_said(where[0])}[{where[1]}]" if isinstance(where[1], int) else f"{_said(where[0])}.{where[1]}"
