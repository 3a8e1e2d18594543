"""Audits from Python: what `seethrough.audit`, `seethrough.spec` and `seethrough.Results` are."""

import html
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from seethrough.common.console import Terminal, visible
from seethrough.common.errors import InputError
from seethrough.reports import Cell, Manifest
from seethrough.reports.csv_tables import results_csv
from seethrough.reports.findings.recoveries import refutation
from seethrough.reports.headline import failed_control
from seethrough.reports.report import Report, read_report

from .cells.finished import failed_cells, finished_cells, read_manifest
from .cells.limits import limits_from
from .cells.store import Store
from .device import Device
from .engine import engine_from
from .run import run_audit
from .specification.file import load_spec, spec_from, spec_of_text
from .specification.schema import AuditSpec

PAGE_HEIGHT = 720  # pixels of the page inside of a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """What an audit found. In a notebook it shows its page."""

    directory: Path  # the folder of the results
    manifest: Manifest  # what was planned, with what
    measured: tuple[Cell, ...]  # the cells, with no pictures but those on the page

    @classmethod
    def read(cls, directory: str | Path) -> "Results":
        """The results in a folder that an audit wrote, finished or not.

        Raises: InputError, where there are none, or damaged ones.
        """
        store = Store(_folder(directory))
        manifest = read_manifest(store)
        return cls(store.directory, manifest, tuple(finished_cells(store, manifest, Terminal(stderr=True))))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """What was measured: one for each place of the grid that is computed. Read from the folder when it is asked for, since
        most of it are pictures."""
        console = Terminal(stderr=True)
        return tuple(finished_cells(Store(self.directory), self.manifest, console, all_pictures=True))

    @cached_property
    def _report(self) -> Report:
        return read_report(self.manifest, self.measured)

    @property
    def problems(self) -> tuple[str, ...]:
        """What the command `seethrough run` ends with an error for: a guarantee that was refuted, a control of the audit that
        failed, cells that did."""
        failed = failed_cells(self.measured)
        said = f"{failed} of {len(self.measured)} cells failed; the report names them" if failed else ""
        return tuple(filter(None, (refutation(self._report.recoveries), failed_control(self._report.blocks), said)))

    @property
    def table(self) -> pd.DataFrame:
        """One row a number: the content of `results.csv`, with its columns."""
        return pd.read_csv(io.StringIO(results_csv(self._report.readings)), keep_default_na=False, na_values=[""])

    @property
    def verdict(self) -> str:
        """The headline of the page: what leaks, what held and what cannot be said."""
        return self._report.verdict.headline

    @property
    def page(self) -> Path:
        """The report, a self-contained HTML file."""
        return self.directory / "index.html"

    def __repr__(self) -> str:
        return f"<Results in {self.directory}: {self.verdict}>"

    def _repr_html_(self) -> str:
        page = html.escape(self.page.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: {PAGE_HEIGHT}px; border: 0"></iframe>'


def audit(
    spec: AuditSpec | Mapping[str, Any] | str | Path | None = None,
    out: str | Path = "audit-results",
    *,
    workers: int = 0,
    threads: int = 1,
    device: Device = "auto",
    retry_failed: bool = False,
    policy: str = "",
    include_private: bool = False,
    cell_timeout: str | float | None = None,
    memory_limit: str | int | None = None,
    tries: int = 1,
    replace: bool = False,
    engine: str = "local",
    scheduler: str | None = None,
    quiet: bool = False,
) -> Results:
    """Run an audit, or go on with one, as `seethrough run` does, and write its tables and report into the folder `out`.

    `spec` is what `seethrough.spec` returns, a dict, the path of a YAML file, or None for the default audit. `workers` are
    processes (0: one for each core), `threads` those of each (another number gives other rounding). `policy`, a file or the
    name of one that is built in, is fixed before the first cell, for `seethrough check`. Pictures that may show real people
    are left out of the page, unless `include_private`. A cell that takes longer than `cell_timeout` (seconds, or text such as
    "10m"), or whose worker takes more memory than `memory_limit` (bytes, or text such as "2GB"), is ended and marked failed;
    one that costs its worker in whatever way is given `tries` in all. `engine` is "local" or "dask", whose workers are this
    machine's, or those of the `scheduler` at an address such as "tcp://10.0.0.5:8786". None of these changes a number. A
    folder with results of another audit is refused, unless this one is to `replace` it. A refuted guarantee, a control that
    fails and failed cells are warned of, and stand in the results' `problems`.

    Raises: InputError, for bad input, one sentence for each mistake, or a folder that cannot be used; RunError, OSError.
    """
    console = Terminal(quiet=quiet)
    limits = limits_from(cell_timeout, memory_limit, tries)
    chosen, folder = _read(spec), _folder(out)
    manifest, cells = run_audit(
        *(chosen, folder, console, console, workers, threads, device, retry_failed, policy, include_private, limits),
        engine=engine_from(engine, scheduler),
        replaces=replace,
    )
    results = Results(folder, manifest, tuple(cells))
    for problem in results.problems:
        warnings.warn(visible(problem), RuntimeWarning, stacklevel=2)
    return results


def spec(described: Mapping[str, Any] | None = None, /, **parts: Any) -> AuditSpec:
    """An audit from plain Python, as a YAML file would describe it: a dict, keywords, or both, keywords last.

    Raises: InputError, with the sentences that a file of this content is answered with.
    """
    return spec_from({**(described or {}), **parts})


def default_spec() -> AuditSpec:
    """The audit that is made when no spec is given."""
    return load_spec(Path(str(files("seethrough.audit") / "default.yaml")), "the default audit")


def _read(spec: AuditSpec | Mapping[str, Any] | str | Path | None) -> AuditSpec:
    if spec is None:
        return default_spec()
    if isinstance(spec, AuditSpec):
        return _as_its_text_says(spec)
    if isinstance(spec, Mapping):
        return spec_from(spec)
    if isinstance(spec, str | Path):
        return load_spec(spec)
    allowed = "a dict, the path of a YAML file, what `seethrough.spec` returns, or None for the default audit"
    raise InputError(f"the spec: found {spec!r:.60} of type {type(spec).__name__}; allowed: {allowed}.")


def _as_its_text_says(spec: AuditSpec) -> AuditSpec:
    """`spec`. Raises: InputError, where its text, which the page shows and a cluster is sent, is that of another one."""
    try:
        is_said = spec_of_text(spec.text, spec.source) == spec
    except InputError:
        is_said = False
    if not is_said:
        found = "found one that was changed after it was made, so that its text is another's"
        raise InputError(f"{spec.source}: {found}; allowed: a spec as `seethrough.spec` returns it.")
    return spec


def _folder(path: str | Path) -> Path:
    if not isinstance(path, str | Path):
        raise InputError(f"the folder: found {path!r:.60} of type {type(path).__name__}; allowed: text or a path.")
    return Path(path)
