"""Where the points, ticks and words of a privacy-utility plot lie, in units of an SVG's view box."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..findings.utility import Point, Tradeoff
from .axis import Frame, Tick, axis_over

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 730, 40, 370
FRAME = Frame(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
LETTER, LINE = 6.6, 14.0  # about the size of a character of the labels


@dataclass(frozen=True)
class Mark:
    """A point, its intervals and its label."""

    point: Point
    x: float
    y: float
    x_range: tuple[float, float] | None
    y_range: tuple[float, float] | None
    text: str
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True)
class Scatter:
    """A whole plot."""

    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    front: str  # the corners of the Pareto front's staircase, empty for a single point
    frame: Frame = FRAME


def scatter(plot: Tradeoff) -> Scatter:
    """The plot of at least one point, wide enough for all means; long intervals may run off its edges, and end there."""
    across = axis_over([point.accuracy for point in plot.points], LEFT, RIGHT)
    up = axis_over([point.leak for point in plot.points], BOTTOM, TOP)
    spots = [(across.at(point.accuracy.mean), up.at(point.leak.mean)) for point in plot.points]
    marks: list[Mark] = []
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
    for point, (x, y) in zip(plot.points, spots, strict=True):
        text = f"{point.number}: {point.privacy}"
        text_x, text_y, anchor, box = _placed(text, x, y, taken)
        taken.append(box)
        ranges = across.span(point.accuracy), up.span(point.leak)
        marks.append(Mark(point, x, y, *ranges, text, text_x, text_y, anchor))
    return Scatter(across.ticks(), up.ticks(), tuple(marks), _staircase(marks))


Box = tuple[float, float, float, float]


def _placed(text: str, x: float, y: float, taken: Sequence[Box]) -> tuple[float, float, str, Box]:
    """The place around a point at which its label covers least of what is there already."""
    width = LETTER * len(text)
    tries = [
        (x + dx, y + dy, anchor) for dy in (-8, 18, -22, 32, -36, 46) for dx, anchor in ((8, "start"), (-8, "end"))
    ]

    def box(at: tuple[float, float, str]) -> Box:
        start = at[0] if at[2] == "start" else at[0] - width
        return (start, at[1] - LINE + 3, start + width, at[1] + 3)

    def cost(at: tuple[float, float, str]) -> float:
        left, top, right, bottom = box(at)
        outside = max(0.0, LEFT - left) + max(0.0, right - WIDTH) + max(0.0, TOP - top) + max(0.0, bottom - BOTTOM)
        return 100 * outside + sum(_overlap((left, top, right, bottom), other) for other in taken)

    best = min(tries, key=cost)
    return round(best[0], 1), round(best[1], 1), best[2], box(best)


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def _staircase(marks: Sequence[Mark]) -> str:
    """What the front attains: to the left of a point its leak, until the next point to the left leaks less."""
    front = sorted({(mark.x, mark.y) for mark in marks if mark.point.front})
    corners: list[tuple[float, float]] = []
    for x, y in front:
        if corners:
            corners.append((corners[-1][0], y))
        corners.append((x, y))
    return " ".join(f"{x},{y}" for x, y in corners) if len(front) > 1 else ""
