"""Where the lines, floors and ticks of a plot over a number lie, in units of an SVG's view box."""

from dataclasses import dataclass

from ..findings.over import Line, Over
from ..findings.text import number
from .axis import Axis, Frame, Tick, axis_over

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 730, 34, 286
FRAME = Frame(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
APART = 5.0  # by which points of several lines are moved aside


@dataclass(frozen=True)
class Dot:
    """A point with its interval."""

    x: float
    y: float
    y_range: tuple[float, float] | None
    floor: float | None
    words: str


@dataclass(frozen=True)
class Curve:
    """One line."""

    line: Line
    number: int  # 1 for the first: it is drawn in the color and dashes of its number
    path: str
    floor: str  # the path of what the best guesser gets
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Curves:
    """A whole plot."""

    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    curves: tuple[Curve, ...]
    frame: Frame = FRAME


def curves(plot: Over) -> Curves:
    """The plot; values of the axis stand side by side, evenly, whatever lies between them."""
    values = sorted({point.at for line in plot.lines for point in line.points})
    places = {value: LEFT + (RIGHT - LEFT) * (place + 0.5) / len(values) for place, value in enumerate(values)}
    floors = [p.finding.floor for line in plot.lines for p in line.points if p.finding.floor is not None]
    up = axis_over([point.value for line in plot.lines for point in line.points], BOTTOM, TOP, floors)
    drawn = tuple(_curve(line, place, len(plot.lines), places, up) for place, line in enumerate(plot.lines))
    across = tuple(Tick(round(places[value], 1), f"{value:g}") for value in values)
    return Curves(across, up.ticks(), drawn)


def _curve(line: Line, place: int, lines: int, places: dict[float, float], up: Axis) -> Curve:
    aside = APART * (place - (lines - 1) / 2)
    dots = tuple(
        Dot(
            round(places[point.at] + aside, 1),
            up.at(point.value.mean),
            up.span(point.value),
            None if point.finding.floor is None else up.at(point.finding.floor),
            f"{line.defense}, {point.at:g}: {number(point.value.mean)}",
        )
        for point in line.points
    )
    path = " ".join(f"{dot.x},{dot.y}" for dot in dots)
    floor = " ".join(f"{dot.x},{dot.floor}" for dot in dots if dot.floor is not None)
    return Curve(line, place + 1, path, floor, dots)
