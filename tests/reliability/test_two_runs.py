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
    began = time.monotonic()
    try:
        with Store(folder).lock():
            for _ in range(line.parties - 1):
                refused.acquire(timeout=60)
            results.put(("held", 0.0))
    except FolderInUseError:
        results.put(("refused", time.monotonic() - began))
        refused.release()


@pytest.mark.parametrize("rounds", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_of_runs_that_start_at_once_one_goes_on(tmp_path, measured, rounds):
    context, slowest = multiprocessing.get_context("forkserver"), 0.0
    for number in range(rounds):
        runs = 2 + number % 7
        line, refused, results = context.Barrier(runs), context.Semaphore(0), context.Queue()
        arguments = (tmp_path / str(number), line, refused, results)
        racers = [context.Process(target=compete, args=arguments) for _ in range(runs)]
        for racer in racers:
            racer.start()
        outcomes = [results.get(timeout=120) for _ in racers]
        assert sorted(outcome for outcome, _ in outcomes) == ["held"] + ["refused"] * (runs - 1)
        slowest = max(slowest, *(seconds for _, seconds in outcomes))
        for racer in racers:
            racer.join()
    assert slowest < 2
    measured(
        rounds, f"{rounds} rounds of 2 to 8 runs at once: one went on, the others were refused within {slowest:.2f} s"
    )


def test_a_run_on_another_host_is_named(tmp_path):
    """A host of its own name, on this kernel: the lock is seen, as on one machine, and the name is that of the holder."""
    if subprocess.run(["unshare", "-ru", "hostname", "elsewhere"], capture_output=True).returncode:
        pytest.skip("needs the right to take a name in a namespace")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "SCRIPT": HOLD}
    renamed = f'hostname elsewhere; exec {sys.executable} -c "$SCRIPT" {tmp_path / "out"}'
    command = ["unshare", "-ru", "sh", "-c", renamed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError, match="on host elsewhere"), Store(tmp_path / "out").lock():
            pytest.fail("two runs in one folder")
        process.kill()
