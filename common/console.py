"""What is said in a terminal: plain text, in which nothing that others wrote can move the cursor or color a line."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters, marks that reorder what follows them, and halves of characters: all but tab and line feed."""


def visible(text: str) -> str:
    """`text` with every character that would hide or reorder others written out, as in `\\x00`."""
    return _INVISIBLE.sub(lambda found: ascii(found.group())[1:-1], text.replace("\r\n", "\n"))


class Terminal(Console):
    """A console whose commands to the terminal are its own: none gets there within a text, whatever shows it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does, with control characters written out."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def say(console: Console, text: str, style: str = "") -> None:
    """Print `text` as it is, on as many columns as it takes."""
    console.print(visible(text), style=style, markup=False, highlight=False, soft_wrap=True)


def warn(console: Console, sentence: str) -> None:
    """Print what is wrong, where things go on."""
    say(console, sentence, "yellow")


@contextmanager
def working(console: Console, words: str) -> Iterator[Callable[[str], None]]:
    """Show, in a terminal, that something is under way; the function changes the words."""
    with console.status(escape(words)) as status:
        yield lambda changed: status.update(escape(changed))
