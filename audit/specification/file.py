"""From a YAML file, or plain Python, to an AuditSpec."""

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from ..untrusted import Document, parse_yaml, read_yaml, written_yaml
from .error_messages import Location, SpecError, sentences, written
from .schema import AuditSpec


def load_spec(path: str | Path, source: str = "") -> AuditSpec:
    """The audit that the file describes; `source` names it, if not its path.

    Raises: SpecError; UntrustedFileError, if it is no YAML.
    """
    return _validated(read_yaml(path), source or str(path))


def spec_of_text(text: str, source: str) -> AuditSpec:
    """The audit that `text` describes as a file would; `source` stands in the file's place. Raises: as `load_spec`."""
    return _validated(parse_yaml(text, source), source)


def spec_from(described: Mapping[str, Any], source: str = "the spec") -> AuditSpec:
    """The audit that plain Python describes: dicts, lists, text, numbers, booleans and None, as YAML would have them.

    Raises: SpecError, with the same sentences as for a file; `source` stands in the file's place.
    """
    plain = _plain(described, (), source)
    return _validated(Document(plain, written_yaml(plain), {}), source)


def _validated(document: Document, source: str) -> AuditSpec:
    try:
        spec = AuditSpec.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        raise SpecError(tuple(sentences(source, document, error))) from None
    return spec.read_from(source, document.text)


def _plain(value: Any, location: Location, source: str) -> Any:
    """`value` with lists for tuples and text for paths, as YAML would have it. Raises: SpecError, for anything else."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(each, (*location, key), source) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, (*location, place), source) for place, each in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    found = f"{value!r:.60} of type {type(value).__name__}"
    allowed = "finite numbers, text, true or false, None, and lists and dicts (with text as keys) of these"
    if callable(value):
        allowed = "a function or module of yours by its name, as package.module:function"
    raise SpecError((f"{source}, {written(location)}: found {found}; allowed: {allowed}.",))
