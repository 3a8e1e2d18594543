"""results.parquet: the rows of results.csv with their types, for data frames and data bases."""

import importlib.util
import io

from seethrough.common.console import visible
from seethrough.common.errors import InputError

from ..csv_tables import COLUMNS, number_rows
from ..report import Report

WHOLE = ("trial", "n", "seed", "recovered", "images")
REAL = ("value", "floor", "decoy", "chance", "worst", "seconds", "kappa", "bound")


def results_parquet(report: Report) -> bytes:
    """A Parquet file with one row for every planned number: int64, float64 and text columns, null where there is nothing. The
    same report and the same pyarrow give the same bytes.

    Raises: InputError, where pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(
            "parquet: found no pyarrow; allowed: a Python that has it (`pip install 'seethrough[parquet]'`)."
        )
    import pyarrow
    from pyarrow import parquet

    kinds = {**dict.fromkeys(WHOLE, pyarrow.int64()), **dict.fromkeys(REAL, pyarrow.float64())}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    rows = [tuple(map(_plain, row)) for row in number_rows(report.readings)]
    columns = [list(each) for each in zip(*rows, strict=True)] if rows else [[]] * len(COLUMNS)
    table = pyarrow.table(dict(zip(COLUMNS, columns, strict=True)), schema=schema)
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def _plain(value: str | int | float | None) -> str | int | float | None:
    """Text without halves of characters, which UTF-8 does not have."""
    return visible(value) if isinstance(value, str) else value
