"""Runs on disks that are full, or cannot be written, each mounted for this process alone.

    unshare -rm python -m tests.reliability.disks FOLDER

Prints a JSON object of figures; whatever is not as it should be raises.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.reliability.command import Command, left_behind

KIB = 1024
SIZE = 256 * KIB  # more than a run needs
STEP = 12 * KIB


def full(folder: Path, reference: dict[str, bytes]) -> int:
    """How many runs met a disk with too little room, from none on; each said so, and went on once there was more."""
    refused, room = 0, 0
    while _full(folder / str(room), room, reference):
        refused, room = refused + 1, room + STEP
    return refused


def _full(folder: Path, room: int, reference: dict[str, bytes]) -> bool:
    command = Command(folder)
    mount(command.out, f"size={SIZE}")
    ballast = command.out / ".ballast"
    ballast.write_bytes(bytes(SIZE - room))
    code = command.run()
    if code:
        sentence = " ".join(command.errors.split())
        assert code == 1 and sentence.endswith(": no space left on device.") and "out/" in sentence, command.errors
    ballast.unlink()
    assert command.run() == 0, command.errors
    assert left_behind(command.out) == reference, "the table differs"
    subprocess.run(["umount", command.out], check=True)
    return code != 0


def read_only(folder: Path, reference: dict[str, bytes]) -> None:
    command = Command(folder)
    mount(command.out, f"size={SIZE}")
    assert command.run() == 0, command.errors
    subprocess.run(["mount", "-o", "remount,ro", command.out], check=True)
    assert command.run() == 1
    assert " ".join(command.errors.split()) == "out/.lock: read-only file system.", command.errors
    assert left_behind(command.out) == reference, "the table differs"
    subprocess.run(["umount", command.out], check=True)


def mount(place: Path, options: str) -> None:
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True)


def main(folder: Path) -> None:
    whole = Command(folder / "whole")
    assert whole.run() == 0, whole.errors
    reference = left_behind(whole.out)
    read_only(folder / "read-only", reference)
    print(json.dumps({"full": full(folder / "full", reference)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
