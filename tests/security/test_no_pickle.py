"""Nothing is ever unpickled, whatever a file is called and holds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.samples import READERS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("attacks", "audit", "common", "contracts", "defenses", "federation", "recipes", "reports")
UNSAFE = (
    r"allow_pickle\s*=\s*True",
    r"weights_only\s*=\s*False",
    r"yaml\.(unsafe_|full_)?load(_all)?\(",
    r"\bpickle\.loads?\(",
    r"\bUnpickler\b|\bfind_class\b|pickle_module|add_safe_globals|safe_globals\(",
    r"(?<!safetensors\.)torch\.load\((?!.*weights_only=True)",
    r"\b(cloudpickle|dill|joblib|shelve|marshal)\b",
    r"load_checkpoint\(",
    r"(?<![\w.])(eval|exec)\(",
    r"shell\s*=\s*True",
)


def test_no_reader_unpickles_compiles_starts_or_connects_anything(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.security.no_pickle", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["files"] >= 290
    accepted = {form: found["files"] - found["refused"][form] for form in READERS}
    assert accepted.pop("yaml") <= 6, "beyond the pickles of protocol 0, which are lines of ASCII, so text to YAML"
    assert set(accepted.values()) == {0}
    assert found["seen"] == {}
    assert not found["harmed"]
    assert found["control"]["pickle.find_class"] >= 36 and found["control"]["os.system"] >= 6


@pytest.mark.parametrize("pattern", UNSAFE)
def test_no_source_file_opens_a_way_to_unpickle_or_run_what_it_reads(pattern):
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 10
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert found == []
