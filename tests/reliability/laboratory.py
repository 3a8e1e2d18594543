"""A process that has imported everything and has no threads: each experiment is forked from it, so nobody waits for torch.

    python -m tests.reliability.laboratory

Reads one JSON list a line, a function of this room and its arguments, and answers with one JSON object: what the function
found, or how it broke. Without a line to read it ends.
"""

import gc
import json
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from seethrough.reports.page import render_page
from seethrough.reports.report import read_report
from tests.reliability.toys import cell_of, manifest_of, places

EXPERIMENTS = ("campaign", "count_up", "interruptions", "clocks")
LIMIT = 3600  # seconds that an experiment may take


def answer(function: str, arguments: list[Any]) -> dict[str, Any]:
    module, name = function.split(".")
    try:
        return {"found": getattr(import_module(f"tests.reliability.{module}"), name)(*arguments)}
    except Exception:
        return {"broke": traceback.format_exc()}


def warm_up() -> None:
    """Have ready what every run would make anew: imports, and the template of the page."""
    for experiment in EXPERIMENTS:
        import_module(f"tests.reliability.{experiment}")
    grid = places(1)
    render_page(read_report(manifest_of(grid), [cell_of(place.key) for place in grid]))
    gc.freeze()  # a forked process that collects garbage would copy every page of memory


def main() -> None:
    warm_up()
    for line in sys.stdin:
        function, *arguments = json.loads(line)
        answers = Path(arguments[0]) / "answer"
        pid = os.fork()
        if pid == 0:
            signal.alarm(LIMIT)
            answers.write_text(json.dumps(answer(function, arguments)))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(answers.read_text() if code == 0 else json.dumps({"broke": f"ended with {code}"}), flush=True)


if __name__ == "__main__":
    main()
