"""Processes that start fast: servers import everything once, and workers and experiments are forked from them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seethrough.common.processes import afresh


@pytest.fixture(autouse=True, scope="session")
def _imports_once() -> None:
    afresh(gpu=False)


@pytest.fixture(scope="session")
def laboratory() -> Iterator[subprocess.Popen]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    environment |= {"NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-W", "error", "-m", "tests.reliability.laboratory"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:  # type: ignore[call-overload]
        yield process
        process.stdin.close()


@pytest.fixture
def experiment(laboratory: subprocess.Popen, tmp_path: Path) -> Callable[..., Any]:
    """A function that runs an experiment of the laboratory in a folder of its own, and returns what it found."""

    def run(function: str, *arguments: Any) -> Any:
        print(json.dumps([function, str(tmp_path), *arguments]), file=laboratory.stdin, flush=True)
        answer = json.loads(laboratory.stdout.readline())
        assert "broke" not in answer, answer["broke"]
        print(function, answer["found"])
        return answer["found"]

    return run
