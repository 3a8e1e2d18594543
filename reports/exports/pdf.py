"""The page as a PDF, printed by WeasyPrint (`pip install 'seethrough[pdf]'`) or by a Chromium that is installed."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from seethrough.common.errors import InputError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 120
PINNED = "19700101"  # the date of every PDF
_DATE = re.compile(rb"(/(?:CreationDate|ModDate)\s*\(D:)([0-9+\-Z']*)(\))")


def print_page(page: Path, target: Path) -> Path:
    """Print `page` to `target`, whole or not at all. Raises: InputError, where nothing is installed that prints; OSError."""
    with TemporaryDirectory(dir=target.parent, prefix=".pdf-") as folder:
        printed = Path(folder) / "page.pdf"
        if importlib.util.find_spec("weasyprint") is not None:
            _by_weasyprint(page, printed)
        else:
            _by_browser(page, printed, Path(folder))
        pin_dates(printed)
        os.replace(printed, target)
    return target


def pin_dates(printed: Path) -> None:
    """Take the time of printing out of a PDF, in place, so that equal pages give equal bytes; nothing moves in the file."""
    printed.write_bytes(_DATE.sub(lambda found: found[1] + _digits(PINNED, found[2]) + found[3], printed.read_bytes()))


def _digits(wanted: str, date: bytes) -> bytes:
    """The digits of `date`, each replaced by that of another date; an offset from UTC by none."""
    digits = iter(wanted.ljust(len(date), "0"))
    return bytes(ord(next(digits)) if chr(each).isdigit() else each for each in date)


def _by_weasyprint(page: Path, printed: Path) -> None:
    from weasyprint import HTML

    HTML(filename=str(page)).write_pdf(str(printed))


def _by_browser(page: Path, printed: Path, profile: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise InputError(
            "pdf: found neither WeasyPrint nor a Chromium; allowed: either of them (`pip install 'seethrough[pdf]'`), or "
            f"print {page} from a browser."
        )
    options = [
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--no-pdf-header-footer",
    ]
    options += (
        ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    )  # Chromium refuses root with one
    command = [browser, *options, f"--user-data-dir={profile}", f"--print-to-pdf={printed}", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if not printed.is_file():
        raise OSError(f"{browser} printed no PDF: {done.stderr.strip()[-300:]}")
