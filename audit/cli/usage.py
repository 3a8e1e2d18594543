"""One sentence for each mistake in a command's arguments and options: the place, what was found, what is allowed."""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from seethrough.common.errors import InputError

UsageError = typer.BadParameter.__mro__[1]  # of all such mistakes; typer does not export it


class Commands(TyperGroup):
    """The commands, which name an unknown one as every other mistake is named."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            raise InputError(f"found the command {args[0]}; allowed: {', '.join(known)}{_meant(args[0], known)}")
        return super().resolve_command(ctx, args)


def sentence(error: Any) -> str:
    """What is wrong with a command line, by the `UsageError` that typer makes of it; empty where it printed help instead."""
    command = error.ctx.info_name if error.ctx else ""
    if isinstance(error, typer.BadParameter):
        return _of_parameter(command, error)
    if hasattr(error, "possibilities"):
        known = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts if name[:1] == "-"]
        hint = _meant(error.option_name, error.possibilities or known)
        return f"{command}: found the option {error.option_name}; allowed: {', '.join(known)}{hint}"
    if hasattr(error, "option_name"):
        found, allowed = ("no value", "one") if "requires" in error.message else ("a value", "none")
        return f"{error.option_name}: found {found} behind it; allowed: {allowed}."
    further = re.search(r"\(([^()]*)\)$", error.message)
    if further is None:
        return f"{command}: {error.message}" if error.message else ""
    taken = [param.name for param in error.ctx.command.get_params(error.ctx) if param.param_type_name == "argument"]
    return f"{command}: found {further[1]} as well; allowed: {', '.join(taken) or 'no arguments'}."


def _of_parameter(command: str, error: Any) -> str:
    """Of a value that is missing or is not allowed. Newer versions of typer have pydantic look at values, older ones say
    themselves what was found and allowed."""
    details: list[Any] = getattr(error.__cause__, "errors", list)()
    name = max(error.param.opts, key=len)
    if not error.message:
        return f"{command}: found no {name}; allowed: {error.param.help[0].lower()}{error.param.help[1:]}"
    if not details:
        return f"{command}, {name}: {error.message}"
    from ..specification.error_messages import allowed_by, stopped

    allowed = allowed_by(details[0]).rpartition(" is not one of ")[2].replace("'", "")
    return f"{command}, {name}: found {str(details[0]['input'])!r:.60}; allowed: {stopped(allowed)}"


def _meant(written: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(written, known, n=1)
    return f"; did you mean {close[0]}?" if close else "."
