"""Which settings of a spec differ in one number alone, so that a report can draw what is measured over that number."""

import dataclasses
from collections.abc import Iterator, Sequence

from seethrough.common.section import Section
from seethrough.reports.row import Series

from .specification.schema import Setting

FEWEST = 3  # points of a line


def series_of(settings: Sequence[Setting]) -> tuple[Series, ...]:
    """All series of at least `FEWEST` settings, in the order in which they begin."""
    written = {setting.name: dict(_numbers_and_texts(setting, "")) for setting in settings}
    lines: dict[tuple[str, object], list[tuple[str, float]]] = {}
    for name, fields in written.items():
        for path, value in fields.items():
            if isinstance(value, float):
                rest = tuple(sorted((other, repr(each)) for other, each in fields.items() if other != path))
                lines.setdefault((path, rest), []).append((name, value))
    return tuple(
        Series(path, tuple(sorted(points, key=lambda point: point[1])))
        for (path, _), points in lines.items()
        if len({value for _, value in points}) == len(points) >= FEWEST
    )


def _numbers_and_texts(part: object, path: str) -> Iterator[tuple[str, object]]:
    """Every number of a section and of the entries in it by its path, as a float; all else by its spelling."""
    if path == "holds" and part == 0:  # not written: as many as a batch has
        part = "a batch"
    if isinstance(part, Section):
        names: tuple[str, ...] = tuple(type(part).model_fields)
    elif dataclasses.is_dataclass(part):
        names = tuple(field.name for field in dataclasses.fields(part))
    else:
        yield path, float(part) if isinstance(part, int | float) and not isinstance(part, bool) else repr(part)
        return
    yield path, type(part).__name__
    for name in names:
        if path or name != "name":
            yield from _numbers_and_texts(getattr(part, name), f"{path}.{name}" if path else name)
