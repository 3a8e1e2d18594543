"""What can stand in a spec: every entry with its parameters and one line."""

import dataclasses

from rich.markup import escape
from rich.table import Table

from seethrough.common.spelling import default_of

from .kinds import entries_of


def listing(kind: str) -> Table:
    """The entries of one kind as a table."""
    table = Table(
        "name", "parameters and their defaults", "what it is", title=kind, title_justify="left", show_lines=True
    )
    found = entries_of(kind)
    for name, cls in found.entries.items():
        headline = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        origin = f"\n(from {found.origins[cls]})" if cls in found.origins else ""
        table.add_row(name, escape("\n".join(_parameters(cls))), escape(f"{headline}{origin}"))
    return table


def _parameters(cls: type) -> list[str]:
    return [
        field.name if default is dataclasses.MISSING else f"{field.name} = {default!r}"
        for field, default in ((field, default_of(field)) for field in dataclasses.fields(cls))
    ]
