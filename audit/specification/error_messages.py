"""One clear sentence for each mistake in a spec."""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from seethrough.common.console import visible
from seethrough.common.errors import InputError

from ..untrusted import Document

Location = tuple[str | int, ...]

ALLOWED = {
    "missing": "a value, it has no default",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_too_short": "text of at least {min_length} character",
    "string_too_long": "text of at most {max_length} characters",
    "too_short": "a list of at least {min_length} item",
    "string_pattern_mismatch": "text of the form package.module:function",
    "unexpected_keyword_argument": "no such key",
}


class SpecError(InputError):
    """A spec that cannot be run; each of `sentences` names one mistake with file, place, what was found, what is allowed."""

    def __init__(self, sentences: tuple[str, ...]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def stopped(sentence: str) -> str:
    """`sentence` with the stop that ends it, if it has none."""
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


def sentences(file: str, document: Document, error: ValidationError) -> Iterator[str]:
    """One for each mistake: file, line, place, what was found, what is allowed, and a guess at what was meant."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
            continue  # pydantic also counts a list as short whose items are at fault
        location = _in_document(document.data, detail["loc"], missing=detail["type"] == "missing")
        location = _unknown_key(document.data, location, detail)
        line = document.line(location if detail["type"] != "missing" else location[:-1])
        found = "nothing" if detail["type"] == "missing" else _shown(_value_at(document.data, location))
        place = f"{file}, line {line}" if line else file
        allowed = stopped(allowed_by(detail) + _hint(detail))
        yield visible(f"{place}, {written(location)}: found {found}; allowed: {allowed}")


def _in_document(data: Any, loc: tuple[Any, ...], missing: bool) -> Location:
    """The part of a validation error's location that exists in the document (pydantic adds steps of its own)."""
    location: Location = ()
    for position, part in enumerate(loc):
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and part in range(len(data))):
            location, data = (*location, part), data[part]
        elif missing and position == len(loc) - 1:
            location = (*location, part)
    return location


def _unknown_key(data: Any, location: Location, detail: Any) -> Location:
    """The place of the first key that nobody knows, where such a key is the mistake; else the location as it is."""
    mapping = _value_at(data, location) if detail["type"] == "unknown_key" else None
    known = detail.get("ctx", {}).get("allowed", "").split(", ")
    strange = [key for key in mapping if key not in known] if isinstance(mapping, dict) else []
    return (*location, strange[0]) if strange else location


def _value_at(data: Any, location: Location) -> Any:
    for part in location:
        data = data[part]
    return data


def written(location: Location) -> str:
    """A place in a spec: `settings[0].model`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".") or "the whole of it"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def allowed_by(detail: Any) -> str:
    """What is allowed where pydantic found the mistake of which it tells this."""
    if detail["type"] == "tuple_type" and isinstance(detail["input"], str):
        return f"a list, such as [{detail['input']}]"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    template = ALLOWED.get(detail["type"])
    return template.format(**detail.get("ctx", {})) if template else detail["msg"]


def _hint(detail: Any) -> str:
    """A guess at what was meant, where a name was misspelled."""
    context, given = detail.get("ctx", {}), detail["input"]
    alone = next(iter(given)) if isinstance(given, dict) and len(given) == 1 else given
    written = context.get("unknown") or str(alone)
    listed = context.get("allowed") or context.get("expected") or ""
    if detail["type"] == "unknown_entry":
        listed = detail["msg"].removeprefix("one of ").partition(";")[0]
    known = listed.replace("'", "").replace(" or ", ", ").split(", ")
    close = difflib.get_close_matches(written, known, n=1)
    return f"; did you mean {close[0]}?" if close and close[0] != written else ""
