"""Two runs cannot share a folder, and a dead run's lock needs no unlocking."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from seethrough.audit.cells.store import FolderInUseError, Store

HOLD = """
import sys, time
from pathlib import Path
from seethrough.audit.cells.store import Store

with Store(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_run_is_refused_at_once_and_told_who_holds_the_folder(tmp_path, holder):
    began = time.monotonic()
    with pytest.raises(FolderInUseError) as refused, Store(tmp_path / "out").lock():
        pytest.fail("two runs in one folder")
    assert time.monotonic() - began < 2
    assert str(refused.value) == (
        f"{tmp_path / 'out'} is in use by process {holder.pid} on host {socket.gethostname()}; "
        "wait for it or choose another folder"
    )
    with Store(tmp_path / "another").lock():
        pass


def test_the_lock_of_a_killed_run_is_free(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Store(tmp_path / "out").lock():
        assert f"process {os.getpid()} on" in (tmp_path / "out" / ".lock").read_text()


def compete(folder, line, refused, results) -> None:
    line.wait()
    try:
        with Store(folder).lock():
            refused.acquire(timeout=60)
            refused.acquire(timeout=60)
            refused.acquire(timeout=60)
            results.put("held")
    except FolderInUseError:
        results.put("refused")
        refused.release()


def test_of_four_runs_that_start_at_once_one_goes_on(tmp_path):
    context = multiprocessing.get_context("forkserver")
    for number in range(8):
        line, refused, results = context.Barrier(4), context.Semaphore(0), context.Queue()
        arguments = (tmp_path / str(number), line, refused, results)
        racers = [context.Process(target=compete, args=arguments) for _ in range(4)]
        for racer in racers:
            racer.start()
        assert sorted(results.get(timeout=120) for _ in racers) == ["held", "refused", "refused", "refused"]
        for racer in racers:
            racer.join()
