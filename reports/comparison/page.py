"""A comparison as one self-contained HTML page, without script and without network."""

from functools import cache

from jinja2 import Template

from ..findings.text import brief, counted, interval
from ..page import Sign, breakable
from ..parts.template import style, template
from .compare import CHANGES, Change, Comparison, ordered
from .words import HOW, headline, notable

MOST_LISTED = 1_000  # numbers; of more, those that somebody must look at, as many at most
SIGNS: dict[Change, Sign] = {
    "leaks more": Sign("leaks", "▲", "more than chance would make of it"),
    "leaks less": Sign("floor", "▼", "less than chance would make of it"),
    "not comparable": Sign("failed", "≠", "the two runs did not measure the same there"),
    "too few batches": Sign("open", "?", "no change could have been shown, however large"),
    "no difference shown": Sign("absent", "○", "what differs may be chance"),
    "the same": Sign("absent", "=", "equal in every batch, up to rounding"),
    "measured in neither": Sign("absent", "⊘", "neither run has a number, for the same reason"),
}


def comparison_page(found: Comparison) -> str:
    """The page as HTML; equal comparisons give equal bytes."""
    every = ordered(found)
    told = every if len(every) <= MOST_LISTED else notable(found)[:MOST_LISTED]
    return _template().render(
        style=style(),
        found=found,
        headline=headline(found),
        tone=_tone(found),
        differences=told,
        left=len(every) - len(told),
        changes=[change for change in CHANGES if found.changed(change)],
    )


def _tone(found: Comparison) -> str:
    """As the exit code of `seethrough compare`: "leaks", "held", or nothing where that is not known."""
    if found.changed("leaks more"):
        return "leaks"
    return "" if found.is_open else "held"


@cache
def _template() -> Template:
    known = {
        "breakable": breakable,
        "brief": brief,
        "counted": counted,
        "how": HOW,
        "interval": interval,
        "signs": SIGNS,
    }
    return template("comparison/page.html", **known)
