"""Whole runs are killed at random instants; what they leave, and what a second run makes of it."""

import json
import os
import subprocess
import sys

import pytest


def campaign(folder, kills: int, workers: int, seed: int) -> subprocess.Popen:
    folder.mkdir()
    command = [sys.executable, "-W", "error", "-m", "tests.reliability.campaign"]
    arguments = [str(folder), str(kills), str(workers), str(seed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("kills", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_runs_killed_at_random_instants_end_as_undisturbed_ones_do(tmp_path, kills):
    both = [campaign(tmp_path / f"{workers}", kills, workers, seed=20 + workers) for workers in (1, 2)]
    figures = [process.communicate(timeout=60 + 4 * kills)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    for printed in figures:
        found = json.loads(printed.splitlines()[-1])
        print(found)
        assert found["kills"] == kills
        assert found["lost"] + found["temporaries"] > 0, "no kill hit a run at work: the campaign tested nothing"
