"""The code and the libraries that are installed here, by their files. Needs none of them."""

import hashlib
import platform
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

LIBRARIES = (
    "torch",
    "torchvision",
    "opacus",
    "lpips",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "numpy",
    "pydantic",
    "seethrough",
)

PACKAGES = ("common", "recipes", "defenses", "federation", "attacks", "audit")

Versions = tuple[tuple[str, str], ...]
"""What has a version, and which."""


def code_revision() -> str:
    """The first 12 digits of the SHA-256 of all source files that can change a number."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        root = Path(str(files("seethrough"))) / package
        for source in sorted(root.rglob("*.py")):
            digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:12]


def libraries() -> Versions:
    """Python and the libraries that numbers depend on."""
    return ("python", platform.python_version()), *((name, version(name)) for name in LIBRARIES)


def differing(found: Versions, expected: Versions) -> str:
    """What of `found` is not as `expected`, in words; empty where nothing is."""
    theirs, mine = dict(found), dict(expected)
    return ", ".join(
        f"{name} {theirs.get(name, 'none')} (here {mine.get(name, 'none')})"
        for name in dict.fromkeys([*mine, *theirs])
        if mine.get(name) != theirs.get(name)
    )
