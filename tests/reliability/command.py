"""The command `seethrough run`, with toy cells: planning and computing are stand-ins, all else is the product.

What is forked here must be forked from a process without threads that has imported everything: `laboratory.py` is one.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from seethrough.audit.cli import main
from seethrough.audit.plan import Plan
from tests.reliability.toys import Toy, manifest_of, places

RUN = "seethrough.audit.run"


@dataclass(frozen=True)
class Command:
    """`seethrough run --out out`, in `folder`, over `cells` toy cells of `seconds` each."""

    folder: Path
    cells: int = 4
    seconds: float = 0.0
    workers: int = 1
    arguments: tuple[str, ...] = ()
    prepare: Callable[[], None] = lambda: None  # done in the process of the run before anything else
    log: str = ""  # a file that names each cell as it begins

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    def start(self) -> int:
        """The process of the run, the first of a group of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if pid == 0:
            os._exit(_exit_code(self))
        return pid

    def run(self) -> int:
        """Its exit code; negative for a signal."""
        return ended(self.start())


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def left_behind(out: Path) -> dict[str, bytes]:
    """Every file that a run leaves, but for the lock, which names its process."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class ToyComputation(Toy):
    """In the place of an audit's computation."""

    cases: dict[str, Any] = field(default_factory=dict)
    code: str = "toy"


def _exit_code(command: Command) -> int:
    """What `main` exits with, as the interpreter would."""
    try:
        os.setpgid(0, 0)
        os.chdir(command.folder)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, descriptor)
            os.close(file)
        _with_toys(command)
        command.prepare()
        main()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
        return 99
    finally:
        sys.stdout.flush()
    return 0


def _with_toys(command: Command) -> None:
    """For good, as the process ends with the run. Seconds are none, so that equal runs leave equal bytes."""
    grid = places(command.cells)
    plan = Plan(manifest_of(grid), dict.fromkeys([place.key for place in grid]), "")  # type: ignore[arg-type]
    changes = {
        "make_plan": lambda *_: plan,
        "Computation": lambda todo, *_: ToyComputation(command.log or os.devnull, command.seconds, todo),
        "afresh": lambda gpu: "fork",
    }
    for name, change in changes.items():
        mock.patch(f"{RUN}.{name}", change).start()
    mock.patch.object(time, "perf_counter", lambda: 0.0).start()
    sys.argv = ["seethrough", "run", "--out", "out", "--workers", str(command.workers), *command.arguments]
