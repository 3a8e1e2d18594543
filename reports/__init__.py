"""Rows in, documents out. Knows nothing of models, attacks or tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seethrough.common.files import write_text_atomically
from seethrough.common.interrupts import interrupts_deferred

from .report import Report, read_report
from .row import (
    Cell,
    Claim,
    Described,
    Guess,
    Manifest,
    Pictures,
    Place,
    Recovery,
    Score,
    Status,
    Utility,
)

if TYPE_CHECKING:
    from .standards import Point

__all__ = [
    "Cell",
    "Claim",
    "Described",
    "Guess",
    "Manifest",
    "Pictures",
    "Place",
    "Recovery",
    "Score",
    "Status",
    "Utility",
    "write_reports",
]


def write_reports(
    directory: Path,
    manifest: Manifest,
    cells: Sequence[Cell],
    include_private: bool = False,
    added: "Sequence[Point]" = (),
) -> Report:
    """Write `report.json`, `results.csv`, `results.md` and `index.html`; `utility.csv` if there are trainings, `labels.csv` if
    there are labels that nothing scores. Equal input gives equal bytes. Pictures that may show real people are left out,
    unless `include_private`. The page shows the points of laws and guidelines that are built in, and those `added`. Returns
    what they say.

    Raises: OSError, where the directory cannot be written; each file is then whole, old or new.
    """
    with interrupts_deferred():  # native code that builds models as it is imported swallows them
        from .csv_tables import labels_csv, results_csv, utility_csv  # slow to import, and wanted only here
        from .digest import report_json
        from .markdown import results_markdown
        from .page import render_page

    report = read_report(manifest, cells)
    directory.mkdir(parents=True, exist_ok=True)
    write_text_atomically(directory / "report.json", report_json(report))
    write_text_atomically(directory / "results.csv", results_csv(report.readings))
    write_text_atomically(directory / "results.md", results_markdown(report))
    write_text_atomically(directory / "index.html", render_page(report, include_private, added))
    _write_or_remove(directory / "labels.csv", labels_csv(manifest, cells))
    _write_or_remove(directory / "utility.csv", utility_csv(manifest, cells) if manifest.trainings else "")
    return report


def _write_or_remove(path: Path, text: str) -> None:
    """Write `text`; where there is none, see that no other audit's is left."""
    if text:
        write_text_atomically(path, text)
    else:
        path.unlink(missing_ok=True)
