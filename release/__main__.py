"""Build what would be published into build/release, try it, and say line by line what holds.

Usage: python -m release [--quick]. Exit code 1 if a line does not hold; `--quick` leaves out the fresh environments, which
take minutes and gigabytes each.
"""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .build import build, commit_time
from .changelog import unready, version_of
from .environments import first_cells, fresh, interpreters
from .supply import packages_of, write_bill_of_materials

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "build" / "release"


def main() -> int:
    """Print every line as soon as it is known."""
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    held = True
    for holds, line in lines(quick="--quick" in sys.argv[1:]):
        print("ok     " if holds else "NOT OK ", line, flush=True)
        held = held and holds
    return 0 if held else 1


def lines(quick: bool) -> Iterator[tuple[bool, str]]:
    """What was found, and whether it holds."""
    version = version_of(ROOT)
    changed, tags = _git("status", "--porcelain").splitlines(), tuple(_git("tag").split())
    yield not changed, f"the working tree has {len(changed)} changes that are not committed"
    reasons = unready((ROOT / "CHANGELOG.md").read_text(), version, tags)
    yield not reasons, " ".join(reasons) or f"the changelog has {version} and its date"
    epoch = commit_time(ROOT)
    archive, wheel = build(ROOT, TARGET, epoch)
    again = build(ROOT, TARGET / "again", epoch)
    same = all(_hash(one) == _hash(other) for one, other in zip((archive, wheel), again, strict=True))
    shutil.rmtree(TARGET / "again")
    for each in (archive, wheel):
        yield same, f"built twice, {'the same' if same else 'other'} bytes: {each.name}, SHA-256 {_hash(each)}"
    with zipfile.ZipFile(wheel) as inside:
        yield "seethrough/py.typed" in inside.namelist(), "the wheel says that it has types (py.typed)"
    checked = subprocess.run(
        (sys.executable, "-m", "twine", "check", "--strict", str(archive), str(wheel)), capture_output=True, text=True
    )
    yield checked.returncode == 0, "twine finds the metadata and the README fit to publish"
    if not quick:
        yield from tried(archive, wheel)


def tried(archive: Path, wheel: Path) -> Iterator[tuple[bool, str]]:
    """The wheel in a fresh environment of each Python, the source archive in one more; then licenses and materials."""
    plan = [(version, python, wheel) for version, python in interpreters().items()]
    plan.append(("3.11", interpreters()["3.11"], archive))
    for version, python, distribution in plan:
        name = f"Python {version}, {distribution.suffix.removeprefix('.')}"
        if python is None:
            yield False, f"{name}: no such interpreter on this machine"
            continue
        folder = TARGET / f"python-{version}-{distribution.suffix.removeprefix('.')}"
        try:
            inside = fresh(python, folder, distribution)
            said = first_cells(inside, folder / "audit")
            yield True, f"{name}: {said}, first cells of the default audit"
            if version == "3.11" and distribution == wheel:
                yield from supplied(inside)
        except RuntimeError as error:
            yield False, f"{name}: {error}"
        shutil.rmtree(folder, ignore_errors=True)


def supplied(inside: Path) -> Iterator[tuple[bool, str]]:
    """Licenses and bill of materials of an environment that holds what users get."""
    packages = packages_of(inside)
    refused = [f"{each.name} ({each.license})" for each in packages if not each.allowed]
    yield not refused, f"licenses of {len(packages)} packages; not on the list: {', '.join(refused) or 'none'}"
    target = TARGET / "seethrough.cdx.json"
    write_bill_of_materials(inside, ROOT / "pyproject.toml", target)
    yield True, f"bill of materials: {target.name}, SHA-256 {_hash(target)}"


def _git(*arguments: str) -> str:
    return subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
