"""What becomes of each defense: `leaks`, `told apart`, `held` or `undecided`.

Safe is a finding too, and needs power: a defense held only if some attack finds a leak without it, and the same attack
by the same metric, with batches enough to find one, is at the floor under it. Where the spec states a margin for the metric,
the interval must exclude a larger leak, too: equivalence, and not that no difference was shown.
"""

from collections.abc import Sequence
from typing import Literal

from ..row import EXPLAINED
from .batches import margin_for
from .grid import Block, Finding, overall

NO_DEFENSE = "none"  # the defense that changes nothing: the positive control of the attacks
RANDOM_UPDATE = "random_update"  # what is sent is noise: the negative control of the whole audit
CONTROL_LEVEL = 0.01  # how often the negative control of an audit that works may fail
CONTROLS = (NO_DEFENSE, RANDOM_UPDATE)

Fate = Literal["leaks", "told apart", "undecided", "held"]

SILENT = ("at the floor", "no power")  # standings of which no defense is accused


def fate(block: Block, defense: str) -> Fate:
    """What is said of a defense; of the positive control, which defends nothing, never that it held, and of no defense where
    the negative control fails."""
    standing = overall(tried(block.of(defense)))
    if standing == "leaks":
        return "leaks"
    if standing == "told apart":
        return "told apart"
    held = (
        standing in SILENT
        and vouched_for(block, defense)
        and not false_alarms(block)
        and not not_excluded(block, defense)
    )
    return "held" if held else "undecided"


def fates(blocks: Sequence[Block], defended: bool) -> list[Fate]:
    """The fates of all defenses, or of the positive control."""
    return [fate(block, defense) for block in blocks for defense in defenses_of(block, defended)]


def defenses_of(block: Block, defended: bool = True) -> tuple[str, ...]:
    """The defenses without the controls, or the positive control alone."""
    return tuple(each for each in block.defenses if (each not in CONTROLS if defended else each == NO_DEFENSE))


def false_alarms(block: Block) -> tuple[Finding, ...]:
    """The findings by which noise in the place of an update is said to tell something, corrected for how many they are
    (Bonferroni, at `CONTROL_LEVEL` for all of a block together): a report that has any is not to be trusted."""
    tested = [finding for finding in block.of(RANDOM_UPDATE) if finding.evidence is not None]
    return tuple(
        each for each in tested if each.evidence is not None and each.evidence.alone * len(tested) <= CONTROL_LEVEL
    )


def is_blind(blocks: Sequence[Block]) -> bool:
    """Whether the positive control fails: defenses were tried, and in undefended updates nothing was found either, with
    batches enough to find something."""
    found = [finding for block in blocks for finding in tried(block.of(NO_DEFENSE)) if finding.metric != EXPLAINED]
    control = [finding.standing for finding in found]
    defended = any(defenses_of(block) for block in blocks)
    return defended and "at the floor" in control and set(control) <= set(SILENT)


def tone(found: Sequence[Fate]) -> str:
    """That of all fates together: "leaks", "held" or "undecided"."""
    if "leaks" in found:
        return "leaks"
    return "held" if set(found) == {"held"} else "undecided"


def tried(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Those that could be run and measured."""
    return tuple(finding for finding in findings if finding.standing not in ("n/a", "unavailable"))


def vouched_for(block: Block, defense: str) -> tuple[Finding, ...]:
    """The findings at the floor under a defense whose attack leaks by the same metric without it."""
    if defense == NO_DEFENSE:
        return ()
    return tuple(
        finding
        for finding in block.of(defense)
        if finding.standing == "at the floor"
        and any(each.standing == "leaks" for each in block.of(NO_DEFENSE, finding.attack, finding.metric))
    )


def not_excluded(block: Block, defense: str) -> tuple[tuple[Finding, float], ...]:
    """The findings, by attacks that leak without the defense, by which a leak beyond the margin of their metric is not
    excluded, with that margin: that a leak was not found is not that it is small. All of a metric's, where none was
    measured."""
    beyond = []
    for metric in block.metrics:
        margin = margin_of(block, metric)
        leaking = {each.attack for each in block.of(NO_DEFENSE, metric=metric) if each.standing == "leaks"}
        mine = [finding for finding in block.of(defense, metric=metric) if finding.attack in leaking]
        if margin is None:
            continue
        measured = [finding for finding in mine if finding.leak is not None]
        beyond += [(each, margin) for each in measured or mine if _may_exceed(each, margin)]
    return tuple(beyond)


def batches_that_decide(block: Block, defense: str) -> int | None:
    """About how many batches would decide what becomes of a defense that is undecided: with which a perfect attack could have
    been found, and a leak beyond each margin excluded. None where it is decided, or where more batches would not do."""
    if fate(block, defense) != "undecided" or false_alarms(block):
        return None
    found = tried(block.of(defense))
    needed = [
        None if each.evidence is None or each.value is None or (each.evidence.needs or 0) <= each.value.n
        else each.evidence.needs
        for each in found
        if each.standing not in SILENT
    ]  # fmt: skip
    needed += [each.batches_to_exclude for each, _ in not_excluded(block, defense)]
    known = [batches for batches in needed if batches is not None]
    return max(known) if known and len(known) == len(needed) else None


def margin_of(block: Block, metric: str) -> float | None:
    """The leak that must be excluded by that metric, named with its parameters or without; None where the spec says none."""
    return margin_for(block.margins, metric)


def _may_exceed(finding: Finding, margin: float) -> bool:
    return finding.leak is None or finding.leak.high is None or finding.leak.high > margin


def weak_attacks(block: Block) -> list[str]:
    """The attacks that found nothing without a defense, with batches enough to find something."""
    control = block.of(NO_DEFENSE)
    attacks = dict.fromkeys(finding.attack for finding in tried(control))
    return [attack for attack in attacks if overall(tried(block.of(NO_DEFENSE, attack))) == "at the floor"]
