"""A comparison in words."""

from collections import Counter
from collections.abc import Sequence

from ..findings.intervals import Estimate
from ..findings.text import brief, counted, interval, listed
from ..markdown import escaped, table
from .compare import CHANGES, Comparison, Difference, ordered

COLUMNS = (
    "setting",
    "threat",
    "defense",
    "attack",
    "metric",
    "change",
    "first",
    "second",
    "more leaked",
    "n",
    "p, of all",
)
HOW = (
    "Positive: more leaked in the second run. Paired by the attacked batch; intervals at 95 % are for each number by "
    "itself, p is for all of them together (signs of whole batches flipped, minP)."
)
SHOWN = 50  # things that differ beside the numbers


def headline(found: Comparison) -> str:
    """One sentence on all numbers."""
    counts = [(change, len(found.changed(change))) for change in CHANGES]
    said = [f"{count} {change}" for change, count in counts if count]
    return f"Of {counted(len(found.differences), 'number')} {listed(said)}." if said else "Neither run holds a number."


def notable(found: Comparison) -> tuple[Difference, ...]:
    """The differences that somebody must look at, the gravest first."""
    grave = CHANGES[: CHANGES.index("no difference shown")]
    return tuple(each for change in grave for each in found.changed(change))


def lines(found: Comparison) -> tuple[str, ...]:
    """What somebody must look at, one line each; what cannot be compared for the same reason on one line."""
    reasons = Counter(each.reason for each in found.changed("not comparable") if each.more is None)
    many = {reason for reason, count in reasons.items() if count > 1}
    told = [in_words(each) for each in notable(found) if each.more is not None or each.reason not in many]
    grouped = [f"not comparable: {reasons[reason]} numbers: {brief(reason)}" for reason in reasons if reason in many]
    return (*found.unsound, *told, *grouped)


def in_words(each: Difference) -> str:
    """One difference on a line."""
    setting, threat, defense, attack, metric = each.path
    where = f"{setting}, {threat}: {metric} by {attack} through {defense}"
    lost = brief(each.reason)
    if each.more is None:
        return f"{each.change}: {where}: {lost}"
    said = f"{interval(each.more, sign=True)}, n = {each.more.n}{'' if each.p is None else f', p = {each.p:.4f} among all'}"
    return f"{each.change}: {where}: {said}{f'; {lost}' if lost else ''}"


def comparison_markdown(found: Comparison) -> str:
    """Markdown: the sentence, every number, and what else differs."""
    first, second = found.names
    parts = [f"# {escaped(first)} and {escaped(second)}", f"**{escaped(headline(found))}**"]
    parts += [f"> {HOW}"]
    parts += [f"> {escaped(each)}" for each in found.unsound]
    parts.append(table(COLUMNS, map(_row, ordered(found))))
    if found.others:
        parts += ["## What else differs", _list(found.others)]
    return "\n\n".join(parts) + "\n"


def _row(each: Difference) -> Sequence[str]:
    if each.more is None:
        return (*each.path, f"{each.change}: {brief(each.reason)}", "", "", "", "", "")
    p = "" if each.p is None else f"{each.p:.4f}"
    return (
        *each.path,
        each.change,
        _said(each.first),
        _said(each.second),
        interval(each.more, sign=True),
        str(each.more.n),
        p,
    )


def _said(estimate: Estimate | None) -> str:
    return "" if estimate is None else interval(estimate)


def _list(lines: Sequence[str]) -> str:
    more = [f"- and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*(f"- {escaped(line)}" for line in lines[:SHOWN]), *more])
