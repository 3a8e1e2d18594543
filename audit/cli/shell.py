"""What all commands share: the two consoles, and how a command ends."""

import signal
from typing import Annotated, NoReturn

import typer

from seethrough.common.console import Terminal, say
from seethrough.common.errors import InputError, refusal

from .usage import Commands, UsageError, sentence

FAILED, USAGE, REFUTED, INCONCLUSIVE, UNCONTROLLED, INTERRUPTED = 1, 2, 3, 4, 5, 130

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How much private training data does a federated-learning server see? Attacks against defenses, in numbers.",
)
out = Terminal()
err = Terminal(stderr=True)


def stop(message: str, code: int) -> NoReturn:
    """End the command with a sentence, if there is one to say, and an exit code."""
    if message:
        say(err, message, "red")
    raise SystemExit(code)


def interrupted(message: str) -> NoReturn:
    """End a command that was asked to end, however often it is asked."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    stop(message, INTERRUPTED)


def main() -> None:
    """The command `seethrough`.

    Exit codes: 0 done, 1 a cell failed or the run broke off, 2 bad input, 3 a guarantee was refuted, a policy violated or a
    tripwire tripped, 4 whether one is, is not known, 5 a control of the audit failed, 130 interrupted.
    """
    asked = _Asked()
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of an interrupt
            interrupted("interrupted")
        raise SystemExit(code)
    except (KeyboardInterrupt, typer.Abort):
        interrupted("interrupted")
    except Exception as error:
        if asked.to_end:  # native code may make an error of its own of an interrupt, as pydantic does
            interrupted("interrupted")
        if isinstance(error, InputError):
            stop(str(error), USAGE)
        if isinstance(error, UsageError):
            stop(sentence(error), USAGE)
        if isinstance(error, OSError):
            stop(refusal(error), FAILED)
        raise


class _Asked:
    """Whether the command was asked to end, by Ctrl-C (unless that was ignored, as in the background) or a request."""

    def __init__(self) -> None:
        self.to_end = False
        for number in (signal.SIGTERM, signal.SIGINT):
            if number == signal.SIGTERM or signal.getsignal(number) is signal.default_int_handler:
                signal.signal(number, self._heard)

    def _heard(self, number: int, frame: object) -> None:
        self.to_end = True
        raise KeyboardInterrupt


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(out, f"seethrough {version('seethrough')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which one.")
    ] = False,
) -> None:
    """Options that need no command."""
