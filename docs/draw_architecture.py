"""Draw `docs/architecture.svg` from the imports of the code: the rooms, their parts floor by floor, and who imports whom.

    python docs/draw_architecture.py

A part is a folder of a room, a module beside them, or all entries of a room together. It stands above all that it imports.
Within a room an arrow that follows from others is left out; between rooms there is one arrow, with the number of imports.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("reports", "audit", "attacks", "federation", "defenses", "recipes")
GROUND = "common"  # drawn below, without arrows: whoever uses it is named in its title
ROOMS = (*COLUMNS, GROUND)
ENTRIES = ("attacks", "defenses")  # rooms whose public modules are entries
WIDTH, HEIGHT, GAP, FLOOR, MARGIN = 118, 26, 10, 52, 16
Graph = dict[str, set[str]]


def main() -> None:
    (ROOT / "docs" / "architecture.svg").write_text(drawing(), encoding="utf-8")


def drawing() -> str:
    """The picture, as SVG."""
    inside, between = imports()
    across = MARGIN
    shapes, frames = [], {}
    for room in COLUMNS:
        shape, width, height = _room(f"{room}/", inside[room], across, 6)
        shapes.append(shape)
        frames[room] = (across, width, height)
        across += width + 3 * MARGIN
    arrows = sorted(pair for pair in between if GROUND not in pair)
    users = ", ".join(f"{source} ({between[source, GROUND]} imports)" for source in COLUMNS if between[source, GROUND])
    ground = frames["attacks"][2] + 40 + 22 * len(arrows)
    shape, width, height = _room(f"{GROUND}/, used by {users}", inside[GROUND], frames["attacks"][0], ground)
    shapes.append(shape)
    across = max(across, frames["attacks"][0] + width + MARGIN)
    tall = max(ground + height, frames["audit"][2]) + MARGIN
    lines = "".join(
        _between(frames, source, target, between[source, target], ground - 14 - 22 * place)
        for place, (source, target) in enumerate(arrows)
    )
    style = (
        "text{font:12px sans-serif;fill:#222}.room{fill:#f6f7f9;stroke:#889}.part{fill:#fff;stroke:#456}"
        ".within{stroke:#9ab;fill:none}.between{stroke:#b5541c;fill:none}.head{font-weight:bold}.count{fill:#b5541c}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {tall}" role="img" '
        f'aria-label="Rooms and their imports"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="#789"/></marker></defs><style>{style}</style>'
        f"{''.join(shapes)}{lines}</svg>\n"
    )


def imports() -> tuple[dict[str, Graph], Counter[tuple[str, str]]]:
    """Which part of a room imports which other; and how many imports run from room to room."""
    inside: dict[str, Graph] = {room: {} for room in ROOMS}
    between: Counter[tuple[str, str]] = Counter()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if path.name == "__init__.py" and path.parent.name == room:
                continue
            own = _part(path.relative_to(ROOT).with_suffix("").parts)
            inside[room].setdefault(own, set())
            for target in _imported(path):
                if target[0] != room:
                    between[room, target[0]] += 1
                elif len(target) > 1 and (other := _part(target)) != own:
                    inside[room][own].add(other)
    return inside, between


def _imported(path: Path) -> Iterator[tuple[str, ...]]:
    """What a file imports of ours, as the parts of a path below the root, whole modules or names in them."""
    home = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            named = tuple((node.module or "").split(".")) if node.module else ()
            base = (*home[: len(home) - node.level + 1], *named) if node.level else named[1:]
            if not node.level and named[:1] != ("seethrough",):
                continue
            for target in (base,) if named else ((*base, alias.name) for alias in node.names):
                if target and target[0] in ROOMS:
                    yield target


def _part(parts: tuple[str, ...]) -> str:
    room, name = parts[0], parts[1]
    if (ROOT / room / name).is_dir():
        return f"{name}/"
    return "entries" if room in ENTRIES and not name.startswith("_") else name.strip("_")


def floors(graph: Graph) -> dict[str, int]:
    """How high each part stands: one above the highest that it imports."""
    found: dict[str, int] = {}

    def floor(part: str, above: tuple[str, ...] = ()) -> int:
        if part in above:
            raise ValueError(f"a circle of imports: {' -> '.join((*above, part))}")
        if part not in found:
            found[part] = 1 + max((floor(other, (*above, part)) for other in graph.get(part, ())), default=-1)
        return found[part]

    for part in graph:
        floor(part)
    return found


def _needed(graph: Graph) -> Iterator[tuple[str, str]]:
    """The imports that do not follow from others."""

    def reach(part: str) -> set[str]:
        return {other for direct in graph.get(part, ()) for other in {direct, *reach(direct)}}

    for part, direct in sorted(graph.items()):
        for other in sorted(direct):
            if not any(other in reach(third) for third in direct if third != other):
                yield part, other


def _room(title: str, graph: Graph, left: int, top: int) -> tuple[str, int, int]:
    """The frame of a room with its parts, its width and its height."""
    heights = floors(graph)
    rows = [sorted(part for part in graph if heights[part] == floor) for floor in range(max(heights.values()) + 1)]
    width = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    height = len(rows) * FLOOR + 28
    places = {}
    for floor, row in enumerate(rows):
        start = left + (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for column, part in enumerate(row):
            places[part] = (start + column * (WIDTH + GAP), top + 24 + (len(rows) - 1 - floor) * FLOOR)
    lines = "".join(
        f'<path class="within" marker-end="url(#tip)" d="M{places[a][0] + WIDTH / 2} {places[a][1] + HEIGHT}'
        f'L{places[b][0] + WIDTH / 2} {places[b][1]}"/>'
        for a, b in _needed(graph)
    )
    boxes = "".join(
        f'<rect class="part" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
        f'<text x="{x + WIDTH / 2}" y="{y + 17}" text-anchor="middle">{part}</text>'
        for part, (x, y) in sorted(places.items())
    )
    frame = f'<rect class="room" x="{left}" y="{top}" width="{width}" height="{height}" rx="8"/>'
    head = f'<text class="head" x="{left + 8}" y="{top + 16}">{title}</text>'
    return f"{frame}{head}{lines}{boxes}", width, height


def _between(frames: dict[str, tuple[int, int, int]], source: str, target: str, count: int, level: int) -> str:
    """The arrow from room to room: sideways out of the frame of the higher column, and up into the other one."""
    left, width, height = frames[source]
    end = frames[target][0] + frames[target][1] / 2 + 12 * COLUMNS.index(source)
    start = left + width if end > left else left
    level = min(level, height - 8) if source == "audit" else level
    origin = f"M{start} {level}" if source == "audit" else f"M{left + width / 2} {height + 6}V{level}"
    words = f'<text class="count" x="{(start + end) / 2}" y="{level - 4}" text-anchor="middle">{count} imports</text>'
    return f'<path class="between" marker-end="url(#tip)" d="{origin}H{end}V{frames[target][2] + 8}"/>{words}'


if __name__ == "__main__":
    main()
