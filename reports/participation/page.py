"""participation.html: one self-contained page, without script and without network."""

from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from seethrough.common.console import visible

from ..findings.claims import bound
from ..findings.text import counted, number
from .heat_map import heat_map, legend
from .rows import Participation
from .words import sentences, standing

SHOWN = 200  # clients in the table; all of them are in the CSV


def render_participation(found: Participation) -> str:
    """The page as HTML."""
    ordered = sorted(found.clients, key=lambda each: (each.after is None, each.after or 0, each.found, -each.told))
    said = sentences(found)
    return _template().render(
        style=Markup(_packaged("page.css")),
        found=found,
        verdict=standing(found),
        headline=said[0],
        rest=said[1:],
        map=heat_map(found),
        legend=legend(),
        clients=ordered[:SHOWN],
        left=len(ordered) - SHOWN,
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.globals.update(counted=counted, number=number, span=_span, bound=bound, percent="{:.0%}".format)
    return environment.from_string(_packaged("participation/page.html"))


def _packaged(name: str) -> str:
    return resources.files("seethrough.reports").joinpath(name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    return visible(value) if type(value) is str else value


def _span(rounds: tuple[int, ...], draws: int) -> str:
    """When the first client could be computed, over several draws."""
    if not rounds:
        return f"never in {draws} draws"
    middle = sorted(rounds)[len(rounds) // 2]
    many = f"{len(rounds)} of {draws} draws" if len(rounds) < draws else f"{draws} draws"
    return f"{middle} ({min(rounds)} to {max(rounds)}, {many})"
