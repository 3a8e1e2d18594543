"""Who sees what, as boxes and arrows in units of an SVG's view box."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..findings.text import listed
from ..row import Manifest, Sight

WIDTH, LEFT, RIGHT, NARROW = 340, 2, 338, 292
SENT, BROADCAST, SECOND = 60, 318, 178  # where arrows run down and up, and where a second column of words begins
LINE, GAP, FIRST = 18, 46, 24  # from line to line, from box to box, from the top of a box to its first line
ALSO, NOT = "It may also use:", "Withheld from it:"


@dataclass(frozen=True)
class Words:
    """A line of text."""

    x: int
    y: int
    text: str
    style: str  # "title", "plain", "granted", "withheld", or "model", which ends at x


@dataclass(frozen=True)
class Box:
    """Somebody who does something."""

    y: int
    height: int
    right: int
    style: str  # "clients", "sum" or "server"


@dataclass(frozen=True)
class Arrow:
    """What goes from one to another."""

    x: int
    start: int
    end: int
    style: str  # "sent", or "broadcast", which goes up


@dataclass(frozen=True)
class Drawing:
    """A threat model."""

    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    words: tuple[Words, ...]
    alternative: str  # all of it in a sentence or two
    width: int = WIDTH


@dataclass(frozen=True)
class _Stage:
    style: str
    lines: tuple[tuple[tuple[str, str], ...], ...]  # style and text, of one or two columns
    sends: str = ""


def threat_drawing(manifest: Manifest, threat: str, defenses: Sequence[str]) -> Drawing | None:
    """The drawing of a threat model over `defenses`; None where the manifest does not say what its server may use."""
    sight = next((each for each in manifest.sights if each.threat == threat), None)
    if sight is None:
        return None
    sums = {defense: clients for defense, clients in manifest.sums if defense in defenses}
    partly = bool(sums) and len(sums) < len(defenses)
    read = "each update" if not sums else "sums, or each update" if partly else "sums alone"
    trained = "train on examples that stay with them"
    stages = [_Stage("clients", (_line("Clients", "title"), _line(trained)), "updates, as defended")]
    said = [f"Clients {trained}, and send updates, as defended."]
    if sums:
        summed = f"adds up the updates of {' or '.join(map(str, sorted(set(sums.values()))))} clients"
        only = ["where a defense has it"] if partly else []
        lines = (_line("Secure aggregation", "title"), *map(_line, (summed, *only)))
        stages.append(_Stage("sum", lines, "a sum, or each update" if partly else "their sum"))
        said.append(f"Secure aggregation {', '.join((summed, *only))}.")
    stages.append(_server(sight, read))
    said.append(f"The server, which sent the model, is the attacker and reads {read}.")
    said += [f"{words} {listed(facts)}." for words, facts in ((ALSO, sight.granted), (NOT, sight.withheld)) if facts]
    return _laid_out(stages, " ".join(said))


def _server(sight: Sight, read: str) -> _Stage:
    also, withheld = _in_columns("granted", sight.granted), _in_columns("withheld", sight.withheld)
    lines = [
        _line("Server: the attacker", "title"),
        _line("follows the protocol, and is curious;"),
        _line(f"reads {read}"),
    ]
    lines += [_line(ALSO, "plain"), *also] if also else []
    lines += [_line(NOT, "plain"), *withheld] if withheld else []
    return _Stage("server", tuple(lines))


def _line(text: str, style: str = "muted") -> tuple[tuple[str, str], ...]:
    return ((style, text),)


def _in_columns(style: str, facts: Sequence[str]) -> list[tuple[tuple[str, str], ...]]:
    marked = [(style, f"{'✓' if style == 'granted' else '✕'} {fact}") for fact in facts]
    return [tuple(marked[place : place + 2]) for place in range(0, len(marked), 2)]


def _laid_out(stages: Sequence[_Stage], alternative: str) -> Drawing:
    """The stages below each other."""
    boxes, arrows, words, top = [], [], [], 2
    for stage in stages:
        height = FIRST + LINE * (len(stage.lines) - 1) + 14
        boxes.append(Box(top, height, NARROW if stage.style == "sum" else RIGHT, stage.style))
        for row, line in enumerate(stage.lines):
            words += [
                Words(x, top + FIRST + LINE * row, text, style)
                for x, (style, text) in zip((18, SECOND), line, strict=False)
            ]
        top += height
        if stage.sends:
            arrows.append(Arrow(SENT, top, top + GAP, "sent"))
            words.append(Words(SENT + 14, top + GAP // 2 + 4, stage.sends, "muted"))
            top += GAP
    first, last = boxes[0], boxes[-1]
    arrows.append(Arrow(BROADCAST, last.y, first.y + first.height, "broadcast"))
    words.append(Words(BROADCAST - 12, last.y - GAP // 2 + 4, "the model", "model"))
    return Drawing(top + 2, tuple(boxes), tuple(arrows), tuple(words), alternative)
