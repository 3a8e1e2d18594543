"""What the changelog says of the version that is to be released."""

import re
from pathlib import Path

import tomllib

HEADING = re.compile(r"^## (?P<version>\S+) \((?P<date>[^)]*)\)$", re.MULTILINE)


def version_of(root: Path) -> str:
    """The version in pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]


def unready(changelog: str, version: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Why this version cannot be released yet, in sentences; none if it can."""
    found = [match.groupdict() for match in HEADING.finditer(changelog)]
    if not found or found[0]["version"] != version:
        newest = found[0]["version"] if found else "no version"
        return (f"CHANGELOG.md: found {newest} first; allowed: {version}, the version in pyproject.toml.",)
    said = []
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", found[0]["date"]):
        said.append(f"CHANGELOG.md: found {version} ({found[0]['date']}); allowed: its date, such as (2026-12-01).")
    if f"v{version}" in tags:
        said.append(f"pyproject.toml: version {version} has a tag already; allowed: a later one.")
    return tuple(said)
