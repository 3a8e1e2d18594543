"""Why a defense is undecided, in words, and what would decide it."""

from collections.abc import Sequence

from .findings.defense_verdicts import NO_DEFENSE, false_alarms, not_excluded
from .findings.grid import Block, Finding, unique
from .findings.text import listed, number, rounded_up

SPREAD = (
    "How many batches it takes is roughly estimated from the spread of these, for four of five such audits; they are to be "
    "planned in a new folder, under another seed: what is added after a look is no fair test."
)
MOST_MARGINS = 3  # findings beyond their margin that are named


def by_attack(findings: Sequence[Finding]) -> tuple[str, ...]:
    """What is open by each attack."""
    return tuple(
        f"{attack}: {listed(unique(_open(finding) for finding in findings if finding.attack == attack))}"
        for attack in unique(finding.attack for finding in findings)
    )


def _open(finding: Finding) -> str:
    said = f"{finding.metric} {finding.standing}"
    evidence = finding.evidence
    if finding.standing != "inconclusive" or evidence is None or evidence.needs is None:
        return said
    gained = ", though told from other batches" if evidence.tells else ""
    measured = 0 if finding.value is None else finding.value.n
    of = (
        f", of which {measured} of {finding.planned} planned were measured" if evidence.needs <= finding.planned else ""
    )
    return f"{said}, needs {evidence.needs} batches{of}{gained}"


def why_nothing_follows(block: Block, defense: str) -> str:
    """Why a defense through which nothing was found, with batches enough, is not said to have held."""
    beyond = not_excluded(block, defense)
    if beyond and not false_alarms(block):
        said = [f"{each.metric} by {each.attack} ({_beyond(each, margin)})" for each, margin in beyond]
        rests = f" {SPREAD}" if any(each.batches_to_exclude for each, _ in beyond) else ""
        more = f" and {len(said) - MOST_MARGINS} more" if len(said) > MOST_MARGINS else ""
        named = f"{', '.join(said[:MOST_MARGINS])}{more}"
        return f"nothing was found, but a leak beyond the margin is not excluded for {named}.{rests}"
    if false_alarms(block):
        return "nothing was found, but something was in noise, so nothing here is to be trusted."
    if defense == NO_DEFENSE:
        return "nothing was found in undefended updates: the attacks are too weak for this setting, or it gives nothing away."
    if NO_DEFENSE not in block.defenses:
        return "nothing was found, but without an undefended run that may be for attacks that are too weak."
    return "nothing was found, but by no attack and metric that finds a leak without a defense."


def _beyond(finding: Finding, margin: float) -> str:
    needed = would_take(finding, margin, finding.batches_to_exclude)
    return f"at most {_at_most(finding)}, allowed {margin:g}{needed}"


def would_take(finding: Finding, margin: float, needed: int | None) -> str:
    """How many batches would exclude what is beyond the margin; `needed` is how many, where that is known."""
    if finding.leak is not None and finding.leak.mean >= margin:
        return "; these gain that much on average, so that more of the same would not exclude it"
    return f"; about {rounded_up(needed)} batches would exclude it" if needed else ""


def _at_most(finding: Finding) -> str:
    return "unknown" if finding.leak is None or finding.leak.high is None else number(finding.leak.high)
