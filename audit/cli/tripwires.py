"""What a client can check on the model that it received."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from seethrough.common.console import say
from seethrough.common.errors import InputError

from .shell import INCONCLUSIVE, REFUTED, app, err, out

if TYPE_CHECKING:
    from ..tripwires.wire import Wire


@app.command()
def tripwires(
    source: Annotated[
        Path,
        typer.Argument(help="A spec, whose models are checked, or a folder of recordings, with what was received."),
    ],
    model: Annotated[
        str | None, typer.Option(help="With a folder: the architecture, as `model` of a spec; YAML in braces.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="With a folder: images of the client's kind, as `data` of a spec; YAML in braces."),
    ] = None,
) -> None:
    """Check received models for traps of a malicious server: exit code 0 where none is found, 3 where one is, 4 where a check
    could not be made."""
    from ..tripwires.checks import checked
    from ..tripwires.material import received, recorded, sent_to_clients, spec_of
    from ..tripwires.verdict import headline, same_model

    with err.status("reading data and models"):
        spec = spec_of(source, model, data)
    wires = []
    for position, setting in enumerate(spec.settings):
        every = recorded(spec, position)
        wires.append(same_model(sent_to_clients(every)))
        say(out, f"{setting.name}: {wires[-1].sentence}")
        for each in received(spec, position, every):
            try:
                with err.status("checking"):
                    found = checked(each.model, each.inputs, each.classes)
            except ValueError as error:
                raise InputError(f"{each.name}: {error}; allowed: a model that can be trained.") from error
            say(out, f"{each.name}: weights of SHA-256 {each.digest}, checked on {each.images}")
            out.print(_table(found))
            wires += found
    say(out, headline(wires))
    if any(wire.tripped for wire in wires):
        raise SystemExit(REFUTED)
    if any(wire.unchecked for wire in wires):
        raise SystemExit(INCONCLUSIVE)


def _table(wires: "Sequence[Wire]") -> Table:
    table = Table()
    for heading in ("tripwire", "measured", "at most", "what it says"):
        table.add_column(heading, overflow="fold")
    for wire in wires:
        style = "red" if wire.tripped else ""
        table.add_row(wire.name, wire.written(wire.measured), wire.written(wire.threshold), wire.sentence, style=style)
    return table
