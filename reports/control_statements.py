"""What the controls of an audit say: noise in the place of an update, and updates without a defense."""

from collections.abc import Sequence

from .findings.defense_verdicts import CONTROL_LEVEL, NO_DEFENSE, RANDOM_UPDATE, false_alarms, weak_attacks
from .findings.grid import Block, Finding, unique
from .findings.problems import Statement
from .findings.text import counted, listed

NO_NEGATIVE, NO_POSITIVE = "No negative control", "No positive control"
NOT_RUN = (
    "noise in the place of an update (random_update among the defenses) was not run, so nothing shows that this audit finds "
    "nothing where there is nothing."
)
NOT_TESTED = "noise in the place of an update was planned, but nothing of it was measured."
NOT_UNDEFENDED = "without an undefended run, a defense that held cannot be told from attacks that are too weak."


def missing_controls(blocks: Sequence[Block]) -> tuple[Statement, ...]:
    """The controls that some setting and threat model lacks, each said once."""
    lacking = (each for block in blocks for each in control_statements(block))
    return unique(each for each in lacking if each.subject in (NO_NEGATIVE, NO_POSITIVE))


def control_statements(block: Block) -> tuple[Statement, ...]:
    """What the controls say: noise of the audit, undefended runs of the attacks."""
    return (*_negative_control(block), *_positive_control(block))


def _negative_control(block: Block) -> tuple[Statement, ...]:
    if RANDOM_UPDATE not in block.defenses:
        return (Statement(NO_NEGATIVE, NOT_RUN),)
    tested = [finding for finding in block.of(RANDOM_UPDATE) if finding.evidence is not None]
    if not tested:
        return (Statement(NO_NEGATIVE, NOT_TESTED),)
    alarms = false_alarms(block)
    if alarms:
        found = listed([f"{each.attack} by {each.metric} (p = {_alone(each):.2g})" for each in alarms])
        text = (
            f"{found} finds something in noise. Of {counted(len(tested), 'combination')} of an audit that works one does so "
            f"in {CONTROL_LEVEL:.0%} of all audits: make it once more with another seed; if it fails again, something of "
            "the audit is wrong."
        )
        return (Statement("Negative control: fails", text, tone="leaks"),)
    least = min(map(_alone, tested))
    text = (
        f"nothing was found in noise of an update's norm by {counted(len(tested), 'combination')} of attack and "
        f"metric, as it must be (least p of these: {least:.4f})."
    )
    return (Statement("Negative control: holds", text, tone="held"),)


def _alone(finding: Finding) -> float:
    return 1.0 if finding.evidence is None else finding.evidence.alone


def _positive_control(block: Block) -> tuple[Statement, ...]:
    if NO_DEFENSE not in block.defenses:
        return (Statement(NO_POSITIVE, NOT_UNDEFENDED),)
    weak = weak_attacks(block)
    if not weak:
        return ()
    text = (
        f"{listed(weak)} could not be shown to recover anything even without a defense, so failing says nothing of one."
    )
    return (Statement("Weak attacks", text),)
