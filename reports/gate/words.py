"""What came of a rule, in lines: one for the rule, and below it what decided it."""

from collections.abc import Iterator

from ..control_statements import missing_controls
from ..report import Report
from .judgment import Judged

WIDTH = len("inconclusive")


def lacking_controls(report: Report) -> Iterator[str]:
    """The controls that no rule could lean on, whether or not the policy asks for them."""
    for each in missing_controls(report.blocks):
        yield f"{each.subject}: {each.text}"


def told(judged: Judged, report: Report, most: int | None) -> Iterator[str]:
    """The rule with its outcome, and, indented, at most so many things that speak against it; None: all that was found, for it
    too. Where the run has one setting and one threat model, these are not named again."""
    yield f"{judged.outcome:<{WIDTH}}  {judged.rule.name} ({judged.rule.severity})"
    found = [each for each in judged.evidence if most is None or each.outcome != "met"]
    only = {f"{block.setting}, {block.threat}: " for block in report.blocks}
    at = only.pop() if len(only) == 1 else ""
    for each in found[:most]:
        named = "" if each.outcome == judged.outcome else f"{each.outcome}: "
        yield f"    {named}{each.words.removeprefix(at)}"
    if most is not None and len(found) > most:
        yield f"    and {len(found) - most} more; --verbose prints all"
