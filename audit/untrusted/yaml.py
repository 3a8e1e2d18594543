"""YAML: plain data only, each text with one meaning, and the line of every node."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from .files import FilePath, read_whole, refusal, shown

MAX_BYTES = 2**18
"""This and MAX_NODES keep the pure-Python parser, some 20,000 nodes a second, below two seconds a file."""
MAX_NODES = 20_000
MAX_DEPTH = 32
MAX_DIGITS = 300
Location = tuple[str | int, ...]

_CONSTANTS: Mapping[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """What a YAML file holds: dicts with text as keys, lists, text, ints, floats, booleans and None."""

    data: Any
    text: str
    lines: Mapping[Location, int]  # of every node, by its keys and indices from the root

    def line(self, location: Location) -> int | None:
        """The line, counted from 1, at which the node starts, or its key where it has one; None for no such node."""
        return self.lines.get(location)


def read_yaml(path: FilePath) -> Document:
    """The one document in a UTF-8 file of at most MAX_BYTES.

    Only true and false are booleans; yes, no, dates and times stay text; 1e-3 is a number. Tags, aliases, repeated
    keys and keys that are no text are refused. Raises: UntrustedFileError, naming the line.
    """
    try:
        text = read_whole(path, MAX_BYTES).decode()
    except ValueError as error:
        raise refusal(path, f"no YAML ({shown(str(error))})", "one document of YAML in UTF-8") from error
    return parse_yaml(text, path)


def parse_yaml(text: str, path: FilePath) -> Document:
    """The one document in `text`, as `read_yaml` reads it from a file; `path` names where it comes from.

    Raises: UntrustedFileError, naming the line.
    """
    try:
        root = _Loader(text).get_single_node()
        lines: dict[Location, int] = {(): root.start_mark.line + 1 if root else 1}
        return Document(_convert(root, (), lines) if root else None, text, lines)
    except _UnwantedError as error:
        raise refusal(f"{path}, line {error.line}", error.found, error.allowed) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise refusal(f"{path}, line {line}", f"bad YAML ({problem})", "one document of YAML") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise refusal(path, f"no YAML ({shown(str(error))})", "one document of YAML in UTF-8") from error


def written_yaml(data: Any) -> str:
    """YAML that `parse_yaml` reads as `data`, what a Document holds; with line breaks of its own, and keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes where it would mean something else without; names nothing, to be repeated by its name."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        is_more = data in _CONSTANTS or any(kind.fullmatch(data) for kind in (_INTEGER, _FLOAT, _SPECIAL))
        style = None if data.isprintable() and not is_more else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


class _UnwantedError(Exception):
    """YAML that means more than plain data, or more of it than is wanted."""

    def __init__(self, found: str, allowed: str, at: Any) -> None:
        super().__init__(found)
        self.found, self.allowed, self.line = found, allowed, at.start_mark.line + 1


class _Loader(yaml.SafeLoader):
    """Composes nodes within bounds. The pure-Python parser: the C one can overflow its stack."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _UnwantedError(f"the alias {shown(f'*{event.anchor}')}", "values written out", event)
        if event.tag is not None:
            raise _UnwantedError(f"the tag {shown(event.tag)}", "values without tags", event)
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            found = f"value number {self.nodes} at depth {self.depth}"
            raise _UnwantedError(found, f"at most {MAX_NODES} values, {MAX_DEPTH} deep", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _convert(node: Any, path: Location, lines: dict[Location, int]) -> Any:
    """The data of a node; enters the lines of all nodes below it into `lines`."""
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        lines.update({(*path, i): item.start_mark.line + 1 for i, item in enumerate(node.value)})
        return [_convert(item, (*path, i), lines) for i, item in enumerate(node.value)]
    return _plain(node) if node.style is None else _text(node)


def _mapping(node: Any, path: Location, lines: dict[Location, int]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value in node.value:
        key = _convert(key_node, path, {}) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            raise _UnwantedError("a key that is no text", "text as keys (in quotes, anything is text)", key_node)
        if key in data:
            raise _UnwantedError(f"the key {shown(key)} a second time", "each key once", key_node)
        place = (*path, key)
        lines[place] = key_node.start_mark.line + 1
        data[key] = _convert(value, place, lines)
    return data


def _plain(node: Any) -> bool | int | float | str | None:
    """What a scalar without quotes means."""
    text = _text(node)
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise _UnwantedError(f"an integer of {len(text)} digits", f"at most {MAX_DIGITS}", node)
        return int(text)
    if _FLOAT.fullmatch(text):
        if math.isinf(float(text)):
            raise _UnwantedError(shown(text), "numbers that a float can hold", node)
        return float(text)
    return float(text.replace(".", "")) if _SPECIAL.fullmatch(text) else text


def _text(node: Any) -> str:
    if _SURROGATE.search(node.value):
        raise _UnwantedError("half of a surrogate pair", "whole characters", node)
    return node.value
