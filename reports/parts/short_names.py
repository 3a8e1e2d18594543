"""Short names for defenses and attacks of a table: without the parameters that tell none of them from another."""

from collections.abc import Sequence

LONG = 24  # characters from which on a name is shortened
LEFT_OUT = "…"
OPENING, CLOSING = "([{", ")]}"


def short_names(names: Sequence[str]) -> dict[str, str]:
    """By name, what it is called in a table of all `names`: each part of a chain with those parameters alone by which it
    differs from parts of its kind in other names. Names stay as different as they are; what gets no shorter stays itself."""
    parts = {name: [_kind_and_parameters(part) for part in _split(name, " + ")] for name in names}
    shared = {
        kind: set.intersection(*(set(given) for each in parts.values() for other, given in each if other == kind))
        for kind in {kind for each in parts.values() for kind, _ in each}
    }
    alone = {kind for kind in shared if sum(any(other == kind for other, _ in each) for each in parts.values()) == 1}
    short = {
        name: " + ".join(_called(kind, given, set(given) if kind in alone else shared[kind]) for kind, given in each)
        for name, each in parts.items()
    }
    taken = [*short.values(), *names]
    return {
        name: called if len(name) >= LONG and len(called) < len(name) and taken.count(called) == 1 else name
        for name, called in short.items()
    }


def _called(kind: str, given: Sequence[str], shared: set[str]) -> str:
    """A part without the parameters that it shares."""
    if not given:
        return kind
    told = [parameter for parameter in given if parameter not in shared]
    left_out = [LEFT_OUT] if len(told) < len(given) else []
    return f"{kind}({', '.join((*told, *left_out))})"


def _kind_and_parameters(part: str) -> tuple[str, tuple[str, ...]]:
    """`clipping(max_norm=1.0)` as its kind and its parameters; a text that is none of a kind is one by itself."""
    kind, opening, rest = part.partition("(")
    if not opening or not rest.endswith(")"):
        return part, ()
    return kind, tuple(_split(rest[:-1], ", "))


def _split(text: str, separator: str) -> list[str]:
    """`text` at each separator that stands within no brackets."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in OPENING) - (letter in CLOSING)
        if depth == 0 and place >= start and text.startswith(separator, place):
            found.append(text[start:place])
            start = place + len(separator)
    return [*found, text[start:]]
