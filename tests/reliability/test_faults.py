"""Every call of a run that reaches its folder fails, or is its last: sound cells stay, and the run goes on.

It was seen to fail where messages named no file, where `os.path.lexists` said whether a cell is there (documents then missed
one in silence), and where temporary files of documents were left.
"""

import re
import shutil
import subprocess
import sys

import pytest

from tests.reliability.faulty import DIE, KILL

ERRORS = ["EIO", "ENOSPC", "EDQUOT", "EMFILE", "EINTR", "ESTALE", "EACCES"]
CHANGES = (
    "openat,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,link,linkat,fsync,fdatasync,ftruncate,flock"
)


def budget(quick: int, full: int) -> list:
    """Every `quick`-th call by `make test`, every one by `make campaign`."""
    return [quick, pytest.param(full, marks=pytest.mark.slow)]


@pytest.mark.parametrize("step", budget(48, 1))
def test_whichever_call_fails_the_run_says_so_and_goes_on_to_the_same_bytes(experiment, measured, step):
    found = experiment("count_up.count_up", ERRORS, 2, step, False)
    assert found["points"] >= 10
    measured(
        found["points"], f"{len(ERRORS)} errors at {found['points']} calls; {found['tolerated']} of them without effect"
    )


@pytest.mark.parametrize("step", budget(28, 1))
def test_a_disk_that_stays_full_costs_no_finished_cell(experiment, measured, step):
    found = experiment("count_up.count_up", ["ENOSPC"], 2, step, True)
    assert found["points"] >= 3
    measured(found["points"], f"full from each of {found['points']} calls on")


@pytest.mark.parametrize("step", budget(20, 1))
def test_whichever_call_is_the_last_of_the_run_or_of_one_process_it_goes_on_to_the_same_bytes(
    experiment, measured, step
):
    found = experiment("count_up.count_up", [KILL, DIE], 4, step, False)
    assert min(found[f"of {KILL}"], found[f"of {DIE}"]) >= 4
    measured(
        found["points"],
        f"the whole run killed at {found[f'of {KILL}']} calls, the calling process alone at {found[f'of {DIE}']}",
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_what_changes_a_runs_folder_goes_through_the_calls_that_are_counted(tmp_path):
    """The same changes are seen from within and by strace, name for name."""
    script = (
        "import sys; from pathlib import Path; from tests.reliability.command import Command;"
        "from tests.reliability.faulty import Faults; folder = Path(sys.argv[1]);"
        "faults = Faults(f'{folder}/', str(folder / 'trail')); sys.exit(Command(folder, 2, prepare=faults.install).run())"
    )
    log = tmp_path / "strace"
    strace = ["strace", "-f", "-y", "-qq", "-e", f"trace={CHANGES}", "-e", "signal=none", "-o", str(log)]
    subprocess.run([*strace, sys.executable, "-c", script, str(tmp_path / "run")], check=True, timeout=120)
    seen = _by_strace(log.read_text(), str(tmp_path / "run"))
    assert seen == _counted((tmp_path / "run" / "trail").read_text())
    assert len(seen) > 30


def _by_strace(log: str, folder: str) -> list[str]:
    """The calls below the folder that create, change or lock, in their order."""
    calls = re.findall(r"^\d+ +(\w+)\((.*)$", log, re.MULTILINE)
    found = []
    for name, rest in calls:
        path = re.search(
            r'"(out[^"]*)"' if name not in ("fsync", "ftruncate", "flock") else rf"<{folder}/(out[^>]*)>", rest
        )
        if path and (name != "openat" or "O_CREAT" in rest):
            found.append(f"{PLAIN.get(name, name)} {_bare(path[1])}")
    return found


PLAIN = {"openat": "open", "renameat2": "rename", "renameat": "rename", "replace": "rename", "mkdirat": "mkdir"}
PLAIN |= {"unlinkat": "unlink"}


def _counted(trail: str) -> list[str]:
    found = []
    for line in trail.splitlines():
        _, name, path = line.split(" ", 2)
        creates = name == "open" and (path.endswith((".tmp", ".lock")))
        if creates or name in ("mkdir", "unlink", "replace", "rename", "fsync", "ftruncate", "flock"):
            found.append(f"{PLAIN.get(name, name)} {_bare(path)}")
    return [call for call in found if " out" in call]


def _bare(path: str) -> str:
    return path[path.index("out") :] if "out" in path else path
