"""The user's own code: imported and called at the edge, so that whatever is wrong with it becomes one sentence that names the
function, what was raised, and the line of the user's file."""

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OURS = Path(__file__).resolve().parent.parent
INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


class UserCodeError(ValueError):
    """The user's code cannot be used; the message is a sentence without its period."""


def user_function(function: str) -> Callable[..., Any]:
    """What `package.module:name` names. Modules of the current folder count too, after all that is installed: from the first
    spec that names one on, never before. Raises: UserCodeError, if it cannot be imported or called."""
    module, name = function.split(":")
    look_here_for(module)
    with explained(function, f"cannot be imported, from what is installed or from {os.getcwd()}"):
        found = importlib.import_module(module)
        made = getattr(found, name, None)
        present = hasattr(found, name)
    file = getattr(found, "__file__", None) or "no file"
    if not present:
        raise UserCodeError(
            f"`{function}` cannot be imported: {module} has no {name} ({file}); allowed: package.module:function"
        )
    if not callable(made):
        raise UserCodeError(
            f"`{function}` is of type {type(made).__name__}; allowed: a function (package.module:function)"
        )
    return made


def look_here_for(module: str) -> None:
    """From now on look for modules in the current folder too, if it holds this one, or the package around it."""
    top = Path(module.split(".")[0])
    if (top.is_dir() or top.with_suffix(".py").is_file()) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def takes(function: str, code: Callable[..., Any], *arguments: object) -> None:
    """Raises: UserCodeError, if `code`, which `function` names, cannot be called with so many arguments."""
    try:
        signature = inspect.signature(code)
        signature.bind(*arguments)
    except TypeError as error:
        shown = ", ".join(str(each) for each in arguments)
        raise UserCodeError(
            f"`{function}` takes {signature}, and is called with ({shown}){defined(code)}: {error}; allowed: a function of "
            "these"
        ) from error
    except ValueError:  # a builtin, of no known signature
        return


@contextmanager
def explained(function: str, did: str, code: object = None) -> Iterator[None]:
    """Within, an exception becomes a UserCodeError: that `function` `did` so and so, and where: the innermost line of the
    user's own files that it passed through, else the line where `code` is defined, which was called.

    SystemExit too: a module that ends the process when it is imported must not end an audit.
    """
    try:
        yield
    except UserCodeError:
        raise
    except (Exception, SystemExit) as error:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        reason = " ".join(message.split()) or "no reason given"
        where = _passed(error) or defined(code)
        raise UserCodeError(f"`{function}` {did}: {type(error).__name__}: {reason:.300}{where}") from error


def is_the_users(file: Path) -> bool:
    """Whether a source file is neither installed nor ours. Tests beside our packages are the user's of the tests."""
    if not file.is_file():
        return False
    real = file.resolve()
    rooms = (
        OURS / room
        for room in ("attacks", "audit", "common", "contracts", "defenses", "federation", "recipes", "reports", "src")
    )
    return not any(real.is_relative_to(place) for place in (*INSTALLED, *rooms))


def _passed(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return _line(error.filename, error.lineno)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_the_users(Path(frame.filename))]
    return _line(frames[-1].filename, frames[-1].lineno) if frames else ""


def defined(code: object) -> str:
    """Where `code` of the user's own is defined, in brackets; empty for any other."""
    plain = inspect.unwrap(code) if callable(code) else None
    found = getattr(plain, "__init__", None) if inspect.isclass(plain) else plain
    lines = getattr(found, "__code__", None)
    return _line(lines.co_filename, lines.co_firstlineno) if lines and is_the_users(Path(lines.co_filename)) else ""


def _line(file: str, line: int | None) -> str:
    path = Path(file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    return f" ({shown}, line {line})"
