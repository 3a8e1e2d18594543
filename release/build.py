"""A wheel and a source archive whose bytes depend on the commit alone."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path


def commit_time(root: Path) -> int:
    """When the last commit was made, in seconds since 1970."""
    shown = subprocess.run(("git", "log", "-1", "--format=%ct"), cwd=root, capture_output=True, text=True, check=True)
    return int(shown.stdout)


def build(root: Path, target: Path, epoch: int) -> tuple[Path, Path]:
    """The source archive of `root`, and the wheel that is built from it, in `target`; every time in them is `epoch`.

    Raises: RuntimeError, with the last lines of a build that failed.
    """
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(root))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the build failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    (archive,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    archive.write_bytes(without_times(archive.read_bytes(), epoch))
    return archive, wheel


def without_times(archive: bytes, epoch: int) -> bytes:
    """The same .tar.gz with its members in the order of their names, of nobody, and changed at `epoch` (setuptools writes
    the times of the files that it copied)."""
    sorted_members = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as found,
        tarfile.open(fileobj=sorted_members, mode="w", format=tarfile.PAX_FORMAT) as kept,
    ):
        for member in sorted(found, key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            kept.addfile(member, found.extractfile(member) if member.isfile() else None)
    return gzip.compress(sorted_members.getvalue(), compresslevel=9, mtime=epoch)
