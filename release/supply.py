"""What comes with seethrough: the licenses of what it is installed with, and a bill of materials."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Licenses, by what they are called, that may stand beside Apache-2.0: free ones, and those that bind their own files alone.
ALLOWED = re.compile(
    r"\b(apache|0?bsd|mit|isc|psf|python software foundation|zlib|unlicense|hpnd|public domain|cc0|bsl"
    r"|mpl|mozilla public license|lgpl|gnu lesser general public license)"
    r"(\b|v?\d)",
)
DRIVERS = re.compile(r"^(nvidia|cuda)-")  # libraries that torch's builds for Linux bring, under NVIDIA's own terms


@dataclass(frozen=True)
class Package:
    """One package of an environment."""

    name: str
    version: str
    license: str  # as its metadata have it; several at once are joined by "AND" or ";"

    @property
    def allowed(self) -> bool:
        """Whether each license that it is under is allowed, or one of those that the user may choose from."""
        if DRIVERS.match(self.name):
            return True
        return all(ALLOWED.search(part) for part in re.split(r"\band\b|;", self.license.lower()))


def packages_of(python: Path) -> tuple[Package, ...]:
    """All packages in the environment of that interpreter, as pip-licenses finds them."""
    command = (sys.executable, "-m", "piplicenses", f"--python={python}", "--from=mixed", "--format=json")
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return tuple(Package(each["Name"], each["Version"], each["License"]) for each in listed)


def write_bill_of_materials(python: Path, project: Path, target: Path) -> None:
    """What is in the environment of that interpreter, as CycloneDX in JSON."""
    command = (sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--pyproject", str(project))
    options = ("--output-reproducible", "--of", "JSON", "--output-file", str(target))
    subprocess.run((*command, *options), capture_output=True, text=True, check=True)
