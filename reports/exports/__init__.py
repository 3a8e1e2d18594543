"""Further documents of a report, for papers, pipelines and print; made when they are asked for."""

from collections.abc import Callable
from pathlib import Path

from seethrough.common.files import write_text_atomically

from ..report import Report
from .junit import junit_xml
from .latex import latex_tables
from .pdf import print_page

_TEXTS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "tex": ("report.tex", latex_tables),
    "junit": ("junit.xml", junit_xml),
}


def write_export(directory: Path, report: Report, wanted: str) -> Path:
    """Write that document, `tex`, `junit` or `pdf`, of `report` into `directory`, whose `index.html` is what is printed.

    Raises: InputError, for a PDF where nothing is installed that prints one; OSError.
    """
    if wanted == "pdf":
        return print_page(directory / "index.html", directory / "report.pdf")
    name, make = _TEXTS[wanted]
    write_text_atomically(directory / name, make(report))
    return directory / name


__all__ = ["write_export"]
