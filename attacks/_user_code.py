"""The user's own code: imported and called at the edge, so that whatever is wrong with it becomes one sentence that names the
function, what was raised, and the line of the user's file."""

import importlib
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

OURS = Path(__file__).resolve().parent.parent
INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


class UserCodeError(ValueError):
    """The user's code cannot be used; the message is a sentence without its period."""


def user_function(function: str) -> Callable[..., Any]:
    """What `package.module:name` names. Raises: UserCodeError, if it cannot be imported or called."""
    module, name = function.split(":")
    with explained(function, "cannot be imported"):
        found = importlib.import_module(module)
    if not hasattr(found, name):
        raise UserCodeError(
            f"`{function}` cannot be imported: {module} has no {name}; allowed: package.module:function"
        )
    if not callable(getattr(found, name)):
        kind = type(getattr(found, name)).__name__
        raise UserCodeError(f"`{function}` is a {kind}; allowed: a function (package.module:function)")
    return getattr(found, name)


@contextmanager
def explained(function: str, did: str) -> Iterator[None]:
    """Within, an exception becomes a UserCodeError: that `function` `did` so and so, and where.

    SystemExit too: a module that ends the process when it is imported must not end an audit.
    """
    try:
        yield
    except UserCodeError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise UserCodeError(f"`{function}` {did}: {type(error).__name__}: {reason:.300}{_where(error)}") from error


def _where(error: BaseException) -> str:
    """The innermost line of the user's own files that the exception passed through; empty where it passed through none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    lines = [frame for frame in _frames(error.__traceback__) if _is_the_users(Path(frame.filename))]
    return f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(trace))


def _is_the_users(file: Path) -> bool:
    """Whether a source file is neither installed nor ours. Tests beside our packages are the user's of the tests."""
    if not file.is_file():
        return False
    real = file.resolve()
    rooms = (OURS / room for room in ("attacks", "audit", "defenses", "reports"))
    return not any(real.is_relative_to(place) for place in (*INSTALLED, *rooms))
