"""One row for each client."""

import csv
import io

from ..csv_tables import neutral
from .rows import Client, Participation

COLUMNS = (
    ("client", "name"),
    ("rounds", "rounds"),
    ("smallest_round", "smallest"),
    ("hides_among_at_least", "least"),
    ("smallest_group_found", "found"),
    ("computable_after_rounds", "after"),
    ("noise_amplification", "noise"),
    ("told_if_constant", "told"),
    ("told_under_drift", "drifting"),
    ("told_by_smallest_round", "one_round"),
    ("epsilon", "epsilon"),
)


def participation_csv(found: Participation) -> str:
    """CSV, floats in full precision; what there is not is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading for heading, _ in COLUMNS)
    writer.writerows(_row(each) for each in found.clients)
    return text.getvalue()


def _row(client: Client) -> list[str]:
    values = (getattr(client, field) for _, field in COLUMNS)
    return ["" if value is None else neutral(value) if isinstance(value, str) else repr(value) for value in values]
