"""Entries as a spec writes them: a name, {name: {parameter: value}}, or {name: value of its first parameter}."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Union

from pydantic import BeforeValidator, Discriminator, GetCoreSchemaHandler, Tag, TypeAdapter, WithJsonSchema
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError

from .catalog import name_of
from .section import refuse_unknown_keys

ALWAYS_SAID: Final[JsonDict] = {"said": "always"}
"""Marks a parameter without which nobody knows what was run: `Field(default=4, json_schema_extra=ALWAYS_SAID)`."""


class ReadAs:
    """Marks a field whose values a spec writes as another type says: `Annotated[Attack, ReadAs(...)]`."""

    def __init__(self, written: Any) -> None:
        self.written = written

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(self.written)


def entry_type(entries: dict[str, type], also: str = "") -> Any:
    """The type of a spec's field that holds one of these entries, by name: validated, and described in the JSON Schema."""
    choices = tuple(Annotated[cls, BeforeValidator(_unwrapped(name, cls)), Tag(name)] for name, cls in entries.items())
    one_of = Union[choices]  # type: ignore[valid-type]  # noqa: UP007
    named = Discriminator(
        _name_in(entries),
        custom_error_type="unknown_entry",
        custom_error_message=f"one of {', '.join(entries)}; alone or as `name: {{parameters}}`{also}",
    )
    return Annotated[one_of, named, WithJsonSchema(_schema(entries))]


def label_of(value: object) -> str:
    """An entry as a table names it: its name, and those of its parameters that differ from their defaults or are marked by
    ALWAYS_SAID."""
    changed = [
        f"{field.name}={_spelled(getattr(value, field.name))}"
        for field in dataclasses.fields(value)  # type: ignore[arg-type]
        if getattr(value, field.name) != default_of(field) or _is_always_said(field)
    ]
    return f"{name_of(type(value))}({', '.join(changed)})" if changed else name_of(type(value))


def _spelled(value: Any) -> str:
    """A parameter's value: of a record, such as a recipe, what differs from its defaults, as a spec writes it."""
    if dataclasses.is_dataclass(value):
        return f"{{{', '.join(f'{name}: {_spelled(part)}' for name, part in changed(value).items())}}}"
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        return f"[{', '.join(map(_spelled, value))}]"
    return str(value)


def _is_always_said(field: dataclasses.Field[Any]) -> bool:
    return isinstance(field.default, FieldInfo) and field.default.json_schema_extra == ALWAYS_SAID


def named(value: object) -> Any:
    """An entry as a spec writes it: its name, or that with those of its parameters that differ from their defaults."""
    parameters = changed(value)
    return {name_of(type(value)): parameters} if parameters else name_of(type(value))


def changed(value: object, how: Mapping[str, Callable[[Any], Any]] | None = None) -> dict[str, Any]:
    """The parameters that differ from their defaults, each as `how` writes it, where it says."""
    fields = [field.name for field in dataclasses.fields(value) if getattr(value, field.name) != default_of(field)]  # type: ignore[arg-type]
    return {name: (how or {}).get(name, _plain)(getattr(value, name)) for name in fields}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def default_of(field: dataclasses.Field[Any]) -> object:
    """A parameter's default; dataclasses.MISSING if it has none."""
    described = field.default
    if not isinstance(described, FieldInfo):
        return described
    return dataclasses.MISSING if described.is_required() else described.default


def facts_of(value: object) -> tuple[str, ...]:
    """Every parameter of an entry with its value."""
    return tuple(f"{field.name} = {getattr(value, field.name)}" for field in dataclasses.fields(value))  # type: ignore[arg-type]


def _name_in(entries: dict[str, type]) -> Callable[[Any], Any]:
    def name_in(value: Any) -> Any:
        if type(value) in entries.values():
            return name_of(type(value))
        name = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else value
        return name if isinstance(name, str) else None

    return name_in


def _unwrapped(name: str, cls: type) -> Callable[[Any], Any]:
    fields = tuple(field.name for field in dataclasses.fields(cls))

    def unwrap(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        inner = value[name] if isinstance(value, dict) else None
        if inner is None:
            inner = {}
        if not isinstance(inner, dict) and fields:
            inner = {fields[0]: inner}
        if not isinstance(inner, dict):
            raise PydanticCustomError("no_parameters", "`{name}` alone, it has no parameters", {"name": name})
        for old, new in getattr(cls, "renamed", {}).items():
            if old in inner:
                raise PydanticCustomError("renamed_key", "`{new}`, as {old} is called now", {"new": new, "old": old})
        refuse_unknown_keys(inner, fields)
        return inner

    return unwrap


def _schema(entries: dict[str, type]) -> dict[str, Any]:
    def described(name: str, cls: type) -> dict[str, Any]:
        parameters = _inlined(TypeAdapter(cls).json_schema())
        scalar = {"type": ["string", "number", "boolean", "null"]}
        return {
            "type": "object",
            "properties": {name: {"anyOf": [parameters, scalar], "description": (cls.__doc__ or "").split("\n")[0]}},
            "required": [name],
            "additionalProperties": False,
        }

    return {"anyOf": [{"enum": list(entries)}, *(described(name, cls) for name, cls in entries.items())]}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that can stand inside of another one: what it refers to is written out in its place."""
    shared = schema.get("$defs", {})

    def written_out(part: Any) -> Any:
        if isinstance(part, dict) and "$ref" in part:
            return written_out(shared[part["$ref"].removeprefix("#/$defs/")])
        if isinstance(part, dict):
            return {key: written_out(value) for key, value in part.items() if key != "$defs"}
        return [written_out(each) for each in part] if isinstance(part, list) else part

    inlined: dict[str, Any] = written_out(schema)
    return inlined
