"""A fault at the first call of a run that reaches its folder, then at the second, and so on until none fires."""

import shutil
from collections import Counter
from pathlib import Path

from tests.reliability.command import Command, left_behind
from tests.reliability.faulty import DIE, KILL, Faults


def count_up(folder: str, kinds: list[str], cells: int, step: int, lasting: bool) -> dict[str, int]:
    """Every `step`-th call of a run of `cells` cells meets each of the `kinds` of faults; afterwards the same command goes on.

    A kind is an errno's name, KILL or DIE. `lasting` faults stay: a disk that is full is full for the next call as well.
    Raises: AssertionError, with the call, for whatever is not as it would have been without the fault.
    """
    whole = Command(Path(folder) / "whole", cells)
    assert whole.run() == 0, whole.errors
    reference, counts = left_behind(whole.out), Counter[str]()
    for offset, kind in enumerate(kinds):
        fatal = 1 + offset % step
        while _meets(Path(folder) / "one", cells, fatal, kind, lasting, reference, counts):
            fatal += step
    return dict(counts)


def _meets(
    folder: Path, cells: int, fatal: int, kind: str, lasting: bool, reference: dict[str, bytes], counts: Counter[str]
) -> bool:
    """Whether a call came to its fault."""
    trail = folder / "trail"
    faults = Faults(f"{folder}/", str(trail), fatal, kind, lasting)
    first = Command(folder, cells, prepare=faults.install)
    code, errors = first.run(), first.errors
    calls = trail.read_text().splitlines()
    if len(calls) < fatal:
        assert code == 0 and left_behind(first.out) == reference, "counting alone changes the run"
        shutil.rmtree(folder)
        return False
    what = f"{kind} at {calls[fatal - 1]}: exit code {code}, {errors!r}"
    kept = left_behind(first.out)
    assert _as_documented(kind, code, errors), what
    changed = [name for name, data in kept.items() if _final(name, code) and reference[name] != data]
    assert len(changed) <= (kind == DIE and code == 1), f"{what}; then {changed}"  # the cell that failed
    again = Command(folder, cells, arguments=("--retry-failed",) if kind == DIE else ())
    assert again.run() == 0, f"{what}; then {again.errors!r}"
    assert left_behind(again.out) == reference, f"{what}; then another table"
    shutil.rmtree(folder)
    counts.update(points=1, tolerated=int(code == 0), **{f"of {kind}": 1})
    return True


def _final(name: str, code: int) -> bool:
    """Whether a file is the same whenever it is there: documents of a run that broke off tell of fewer cells."""
    return not name.endswith(".tmp") and (name.startswith("cells/") or name == "manifest.json" or code == 0)


def _as_documented(kind: str, code: int, errors: str) -> bool:
    if kind == KILL:
        return code == -9 and not errors
    if kind == DIE:
        return code in (-9, 0, 1) and "Traceback" not in errors
    sentence = " ".join(errors.split())
    named = "out" in sentence and "Errno" not in sentence and ".tmp" not in sentence and "Traceback" not in sentence
    return code == 0 or (code in (1, 2) and named and errors.count("\n") == 1)
