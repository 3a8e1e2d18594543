"""A disk that is really full, and one that cannot be written: a sentence, and everything that was kept stays."""

import json
import os
import subprocess
import sys

import pytest


def test_a_full_disk_and_a_read_only_one_cost_nothing_that_was_kept(tmp_path, measured):
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system in a namespace")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    variables |= {"NO_COLOR": "1", "COLUMNS": "200"}
    command = ["unshare", "-rm", sys.executable, "-m", "tests.reliability.disks", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["full"] >= 5
    measured(found["full"] + 1, f"{found['full']} runs on a disk that was really full, and one on a read-only one")
