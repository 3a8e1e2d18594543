"""The command on who took part when: participation."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seethrough.common.console import say, visible
from seethrough.common.errors import InputError

from .shell import INCONCLUSIVE, REFUTED, app, out

if TYPE_CHECKING:
    from seethrough.reports.participation import Participation

SHOWN = 20
SIMULATED = ("clients", "rounds", "per_round", "seed")  # options that a recorded schedule has no use for


class Kind(str, Enum):
    """Ways to choose clients that are simulated."""

    RATE = "rate"
    NUMBER = "number"
    GROUPS = "groups"
    WHOLE = "whole-groups"


Share = Annotated[
    float, typer.Option(min=0, max=0.99, help="Share of the chosen clients who do not arrive (simulated).")
]


@app.command()
def participation(
    asked: typer.Context,
    schedule: Annotated[
        Path | None, typer.Argument(help="A CSV file with the columns round and client; or simulate one with --scheme.")
    ] = None,
    directory: Annotated[Path | None, typer.Option("--out", help="A folder for the page and the table.")] = None,
    group: Annotated[
        int | None,
        typer.Option(
            min=2, help="Clients that each was promised to hide among; so many make a simulated group (else 5)."
        ),
    ] = None,
    threshold: Annotated[int, typer.Option(min=1, help="Clients below which a round's sum is not opened.")] = 1,
    drift: Annotated[
        float,
        typer.Option(min=0.001, max=1e6, help="How far updates move from round to round, of what is a client's own."),
    ] = 0.5,
    noise: Annotated[float, typer.Option(min=0, max=1e6, help="Noise in each sum, in the unit of --drift.")] = 0.0,
    noise_multiplier: Annotated[
        float | None,
        typer.Option(
            min=1e-4, max=1e6, help="Of client-level differential privacy in each sum, for epsilon over rounds."
        ),
    ] = None,
    delta: Annotated[float, typer.Option(min=1e-15, max=0.5, help="Of that epsilon.")] = 1e-5,
    scheme: Annotated[Kind | None, typer.Option(help="Simulate: how clients are chosen.")] = None,
    clients: Annotated[int, typer.Option(min=2, max=1_000_000, help="Simulated clients.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, max=1_000_000, help="Simulated rounds.")] = 50,
    per_round: Annotated[int, typer.Option(min=1, help="Simulated clients a round.")] = 10,
    dropout: Share = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
) -> None:
    """Say from who took part when whose update a server can compute from sums. Exit code 3: a smaller group than promised."""
    from seethrough.federation.participation import Drift, Scheme
    from seethrough.reports.participation import participation_csv, render_participation, sentences, standing

    from ..participation import participation as audited
    from ..participation import schedule_in

    if (schedule is None) == (scheme is None):
        found = "both a file and --scheme" if scheme else "neither a file nor --scheme"
        raise InputError(f"participation: found {found}; allowed: one of them.")
    if schedule is not None:
        _refuse_simulation(asked)
    if directory is not None and directory.exists() and not directory.is_dir():
        raise InputError(f"--out: found {directory}, which is no folder; allowed: a folder, or a name that is free.")
    if schedule is not None:
        taken, source = schedule_in(schedule), schedule.name
    else:
        kind = (scheme or Kind.RATE).value.replace("-", " ")
        chosen = Scheme(kind, clients, rounds, per_round, (group or 5) if "groups" in kind else 1, dropout)
        chosen.check()
        taken, source = chosen.drawn(seed), f"simulated: {kind}, {per_round} of {clients} a round"
    told = audited(taken, source, threshold, group, Drift(drift, noise), dropout, noise_multiplier, delta)
    for sentence in sentences(told):
        say(out, sentence)
    if told.privacy:
        say(out, told.privacy)
    _show(told)
    if directory is not None:
        from seethrough.common.files import make_directory, write_text_atomically

        make_directory(directory)
        for name, text in (
            ("participation.csv", participation_csv(told)),
            ("participation.html", render_participation(told)),
        ):
            write_text_atomically(directory / name, text)
        say(out, f"table: {directory / 'participation.csv'}")
        say(out, f"page: {directory / 'participation.html'}")
    if group is not None and standing(told) != "kept":
        raise SystemExit(REFUTED if standing(told) == "exposed" else INCONCLUSIVE)


def _refuse_simulation(asked: typer.Context) -> None:
    """Raises: InputError, where an option that only a simulation heeds stands beside a file."""
    sources = {name: asked.get_parameter_source(name) for name in SIMULATED}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"participation: found {named} beside a file; allowed: with --scheme, which simulates.")


def _show(told: "Participation") -> None:
    from seethrough.reports.findings.claims import bound
    from seethrough.reports.findings.text import number

    table = Table(title_justify="left")
    for heading in ("client", "rounds", "computable after", "hides among", "told if constant", "under drift"):
        table.add_column(heading)
    if told.privacy:
        table.add_column("epsilon")
    for each in told.ordered[:SHOWN]:
        hidden = str(each.least) if each.least == each.found else f"{each.least} to {each.found}"
        after = "never" if each.after is None else str(each.after)
        shares = (number(each.told), number(each.drifting))
        more = () if each.epsilon is None else (bound(each.epsilon),)
        table.add_row(escape(visible(each.name)), str(each.rounds), after, hidden, *shares, *more)
    out.print(table)
    if len(told.clients) > SHOWN:
        say(out, f"and {len(told.clients) - SHOWN} more clients; --out FOLDER writes all of them")
