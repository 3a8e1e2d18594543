"""A part of a spec: a frozen pydantic model that names the keys it allows when it meets another."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping in a spec whose keys are this class's fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            refuse_unknown_keys(value, tuple(cls.model_fields))
        elif not isinstance(value, cls):
            raise PydanticCustomError(
                "not_a_mapping", "a mapping with the keys {keys}", {"keys": ", ".join(cls.model_fields)}
            )
        return _with_tuples(value)


def _on_one_line(value: Any) -> Any:
    return re.sub(r"\s*[\r\n]\s*", " ", value).strip() if isinstance(value, str) else value


ON_ONE_LINE = BeforeValidator(_on_one_line)
"""Of what stands in lines and tables: line breaks in it are spaces."""

Name = Annotated[str, Field(min_length=1), ON_ONE_LINE]


def _with_tuples(value: Any) -> Any:
    """The same with tuples for lists, which strict validation of what is frozen asks for."""
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return {key: _with_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def refuse_unknown_keys(value: dict[Any, Any], allowed: tuple[str, ...]) -> None:
    """Raises: PydanticCustomError, if a key is not among those allowed."""
    unknown = [str(key) for key in value if key not in allowed]
    if unknown:
        raise PydanticCustomError(
            "unknown_key",
            "the keys {allowed} (unknown: {unknown})",
            {"unknown": ", ".join(unknown), "allowed": ", ".join(allowed) or "none, it has no parameters"},
        )
