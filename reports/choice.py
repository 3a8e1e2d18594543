"""Which defense lets least through, in a few sentences, and only as far as it is known."""

from collections.abc import Sequence

from .costs import NOT_LEARNED
from .defense_table import LABEL_SHARES, PICTURE_SHARES, DefenseLine
from .findings.defense_verdicts import CONTROLS, NO_DEFENSE, defenses_of, false_alarms, is_blind
from .findings.grid import Block, kind_of, worst_of
from .findings.intervals import Estimate
from .findings.text import listed
from .recommendation import IMAGES, LABELS

GRAVITY = ("none", "low", "medium", "high", "critical")  # severities from the least to the gravest
MOST_NAMED = 3
UNLEARNED = "It was not shown that a model learns under it."


def choice(blocks: Sequence[Block], lines: Sequence[DefenseLine]) -> str:
    """Which defense least leaks through, its cost, and which ones cannot be told from it; what leaks stands in its row of
    the table. Empty where there is no choice between defenses, or not one setting and threat model, or a control fails."""
    if len(blocks) != 1 or len(defenses_of(blocks[0])) < 2 or false_alarms(blocks[0]) or is_blind(blocks):
        return ""
    block, defended = blocks[0], [line for line in lines if line.defense not in CONTROLS]
    known = [line for line in defended if line.severity in GRAVITY and not line.is_least]
    if NO_DEFENSE not in block.defenses or not known:
        return "Of no defense here is so much known that one could be chosen by it."
    least = min(GRAVITY.index(line.severity) for line in known)
    alike = sorted(
        (line for line in known if GRAVITY.index(line.severity) == least), key=lambda one: _worst(block, one)
    )
    first, *others = alike
    same = [line.defense for line in others if _overlaps(_leak(block, first), _leak(block, line))]
    left = len(defended) - len(known)
    said = (
        f"By these numbers least leaks through {first.defense} (severity {first.severity_words}).",
        f"The accuracy that it leaves: {first.accuracy_words}.",
        UNLEARNED if NOT_LEARNED in first.advice else "",
        f"{_named(same)} cannot be told from it." if same else "",
        f"Of {left} more too little was measured to say." if left else "",
    )
    return " ".join(filter(None, said))


def _leak(block: Block, line: DefenseLine) -> Estimate | None:
    """The worst share that leaks through it: of pictures, where these leak."""
    leaking = [each for each in block.of(line.defense) if each.standing == "leaks"]
    of_images = [each for each in leaking if kind_of(each) in IMAGES]
    shares = PICTURE_SHARES if of_images else LABEL_SHARES
    found = worst_of(
        each for each in of_images or leaking if kind_of(each) in shares and kind_of(each) in (*IMAGES, *LABELS)
    )
    return None if found is None else found.value


def _worst(block: Block, line: DefenseLine) -> float:
    """By what the defenses of one severity are ranked."""
    leak = _leak(block, line)
    return 0.0 if leak is None else leak.mean


def _overlaps(one: Estimate | None, other: Estimate | None) -> bool:
    """Whether what leaks may be the same: always, where there is no number or no interval."""
    if one is None or other is None or None in (one.high, other.low):
        return True
    assert one.high is not None and other.low is not None
    return one.high >= other.low


def _named(defenses: Sequence[str]) -> str:
    more = len(defenses) - MOST_NAMED
    return listed([*defenses[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])])
