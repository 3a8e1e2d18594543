"""participation.html: one self-contained page, without script and without network."""

from functools import cache

from jinja2 import Template

from seethrough.common.rounding import upward

from ..findings.text import counted, number
from ..parts.template import style, template
from .heat_map import heat_map, legend
from .rows import Participation
from .words import sentences, standing

SHOWN = 200  # clients in the table; all of them are in the CSV


def render_participation(found: Participation) -> str:
    """The page as HTML."""
    said = sentences(found)
    return _template().render(
        style=style(),
        found=found,
        verdict=standing(found),
        headline=said[0],
        rest=said[1:],
        map=heat_map(found),
        legend=legend(),
        clients=found.ordered[:SHOWN],
        left=len(found.clients) - SHOWN,
    )


@cache
def _template() -> Template:
    known = {"counted": counted, "number": number, "span": _span, "upward": upward, "percent": "{:.0%}".format}
    return template("participation/page.html", **known)


def _span(rounds: tuple[int, ...], draws: int) -> str:
    """When the first client could be computed, over several draws."""
    if not rounds:
        return f"never in {draws} draws"
    middle = sorted(rounds)[len(rounds) // 2]
    many = f"{len(rounds)} of {draws} draws" if len(rounds) < draws else f"{draws} draws"
    return f"{middle} ({min(rounds)} to {max(rounds)}, {many})"
