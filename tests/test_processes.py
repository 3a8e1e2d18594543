"""Processes that are started afresh: what a server imports for them, and what it must not."""

import subprocess
import sys
from pathlib import Path

import pytest

from seethrough.common.processes import PRELOADED

STARTED = """
from multiprocessing import get_context
from seethrough.common.processes import afresh, starting

if __name__ == "__main__":
    with starting(threads=1):
        process = get_context(afresh(gpu=False)).Process(target=print, args=("started",))
        process.start()
    process.join()
"""


def said(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="forked from a server on Linux only")
def test_a_server_imports_nothing_from_the_folder_in_which_it_starts(tmp_path: Path):
    script, folder = tmp_path / "scripts" / "script.py", tmp_path / "working"
    script.parent.mkdir()
    script.write_text(STARTED)
    folder.mkdir()
    (folder / "torch.py").write_text("raise SystemExit('the wrong torch')")
    assert said(folder, str(script)) == "started\n"


def test_nothing_that_a_server_imports_asks_for_a_gpu(tmp_path: Path):
    """A GPU's driver, once asked, cannot be used by processes that are forked later."""
    asked = "torch._C._cuda_getDeviceCount = torch.cuda.is_available = torch.cuda.init = lambda: print('asked')"
    imports = "; ".join(f"import {name}" for name in PRELOADED)
    assert said(tmp_path, "-c", f"import torch; {asked}; {imports}; print('imported')") == "imported\n"
