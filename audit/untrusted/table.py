"""Columns of a CSV file."""

import csv
import io

from .files import FilePath, read_whole, refusal, shown

MAX_BYTES = 2**28


def read_columns(path: FilePath, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The values of those columns of a CSV file with a header, row by row. Raises: UntrustedFileError."""
    try:
        text = read_whole(path, MAX_BYTES).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise refusal(path, f"no CSV ({error})", "UTF-8 text with commas between values") from error
    header = rows[0] if rows else []
    for column in columns:
        if header.count(column) != 1:
            found = f"columns {', '.join(shown(name) for name in header) or 'none'}"
            raise refusal(path, found, f"a header that holds {shown(column)} once")
    places = [header.index(column) for column in columns]
    for number, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise refusal(path, f"{len(row)} values in row {number}", f"{len(header)}, one for each column")
    return [tuple(row[place] for place in places) for row in rows[1:] if row]
