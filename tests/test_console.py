"""What others wrote cannot steer a terminal, wherever it is shown."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

from seethrough.common.console import Terminal, say, working

HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\u202ed\x9b31me"


def tabled(console: Console) -> None:
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)


def at_work(console: Console) -> None:
    with working(console, HOSTILE) as tell:
        tell(f"{HOSTILE} [/no markup]")


WAYS: dict[str, Callable[[Console], None]] = {
    "a sentence": lambda console: say(console, HOSTILE),
    "a line": lambda console: console.print(HOSTILE),
    "a table": tabled,
    "what is under way": at_work,
}


@pytest.mark.parametrize("show", WAYS.values(), ids=WAYS)
def test_no_text_of_others_sends_a_terminal_a_command(show):
    shown = io.StringIO()
    show(Terminal(file=shown, force_terminal=True, width=200))
    assert "owned" in shown.getvalue()
    assert not {part for part in ("\x1b]0", "\x07", "\x1b[2J", "\u202e", "\x9b") if part in shown.getvalue()}
