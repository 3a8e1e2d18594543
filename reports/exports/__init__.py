"""Further documents of a report, for papers, pipelines, data frames and print; made when they are asked for."""

from collections.abc import Callable
from pathlib import Path

from seethrough.common.files import write_bytes_atomically

from ..report import Report
from .junit import junit_xml
from .latex import latex_tables
from .parquet import results_parquet
from .pdf import print_page

_FILES: dict[str, tuple[str, Callable[[Report], bytes]]] = {
    "tex": ("report.tex", lambda report: latex_tables(report).encode()),
    "junit": ("junit.xml", lambda report: junit_xml(report).encode()),
    "parquet": ("results.parquet", results_parquet),
}


def write_export(directory: Path, report: Report, wanted: str) -> Path:
    """Write that document, `tex`, `junit`, `parquet` or `pdf`, of `report` into `directory`, whose `index.html` is printed.

    Raises: InputError, for a PDF or a Parquet file where nothing is installed that makes one; OSError.
    """
    if wanted == "pdf":
        return print_page(directory / "index.html", directory / "report.pdf")
    name, make = _FILES[wanted]
    write_bytes_atomically(directory / name, make(report))
    return directory / name


__all__ = ["write_export"]
