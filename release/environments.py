"""Fresh environments, in which what was built is installed and tried as a user would."""

import os
import shutil
import subprocess
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.13")  # the oldest that is supported, the one of the tests, and a new one
SHARD = "1/40"  # of the default audit: its first cell and every fortieth after it


def interpreters() -> dict[str, Path | None]:
    """The interpreter of each version that must work, None where this machine has none that starts."""
    return {version: _started(shutil.which(f"python{version}")) for version in VERSIONS}


def _started(found: str | None) -> Path | None:
    if found is None or subprocess.run((found, "--version"), capture_output=True).returncode:
        return None
    return Path(found)


def fresh(python: Path, folder: Path, distribution: Path) -> Path:
    """The interpreter of a new environment in `folder` that holds `distribution` and what it requires, nothing else.

    Raises: RuntimeError, with what pip said last.
    """
    _said((str(python), "-m", "venv", "--clear", str(folder)), folder.parent)
    inside = folder / "bin" / "python"
    _said((str(inside), "-m", "pip", "install", "--quiet", str(distribution)), folder.parent)
    _said((str(inside), "-m", "pip", "check"), folder.parent)
    return inside


def first_cells(inside: Path, folder: Path) -> str:
    """Audit as a user of that environment: the version, and some cells of the default audit into `folder`.

    Raises: RuntimeError, with what the command said last.
    """
    command = str(inside.parent / "seethrough")
    version = _said((command, "--version"), folder.parent)
    _said((command, "run", "--shard", SHARD, "--out", str(folder)), folder.parent)
    return version


def _said(command: tuple[str, ...], folder: Path) -> str:
    """What a command printed, run outside the source tree and deaf to it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[:4])} ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}"
        )
    return done.stdout.strip()
