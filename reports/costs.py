"""What a defense costs, in words: the accuracy that it leaves, beside what there is without one."""

from collections.abc import Sequence

from .findings.defense_verdicts import NO_DEFENSE
from .findings.intervals import Estimate
from .findings.text import percent, percents
from .findings.utility import Trained

NOT_LEARNED = "But a model was not shown to learn under it."
NOTHING_LEARNED = (
    "{setting}: the training learned nothing even without a defense (accuracy {accuracy}, before it {floor}), so what a "
    "defense costs is not known: give it more rounds, or another rate."
)


def undefended(trained: Sequence[Trained], setting: str) -> Trained | None:
    """The trainings of a setting without a defense, where any has an accuracy."""
    mine = (each for each in trained if each.setting == setting and each.defense == NO_DEFENSE)
    return next((each for each in mine if each.accuracy is not None), None)


def learned(trained: Trained) -> bool:
    """Whether a model was shown to become better than it was before training."""
    if trained.accuracy is None or trained.floor is None:
        return False
    low = trained.accuracy.least if trained.accuracy.low is None else trained.accuracy.low
    return low > trained.floor


def cost_of(trained: Trained | None, without: Trained | None) -> str:
    """A sentence, where nothing was shown to be learned under a defense; empty where nothing was without one either, which
    `nothing_learned` says once for all."""
    if trained is None or trained.accuracy is None or learned(trained):
        return ""
    return "" if without is not None and not learned(without) else NOT_LEARNED


def nothing_learned(trained: Sequence[Trained]) -> tuple[str, ...]:
    """One sentence for each setting whose training learned nothing without a defense."""
    settings = dict.fromkeys(each.setting for each in trained)
    without = [found for setting in settings if (found := undefended(trained, setting)) is not None]
    return tuple(
        NOTHING_LEARNED.format(setting=each.setting, accuracy=percents(each.accuracy), floor=percent(each.floor or 0.0))
        for each in without
        if each.accuracy is not None and not learned(each)
    )


def accuracy_words(accuracy: Estimate | None, without: Estimate | None, is_defense: bool = True) -> str:
    """The accuracy that a defense leaves in percent, and of a defense what there is without one."""
    if accuracy is None:
        return "not measured"
    beside = f"; undefended: {percent(without.mean)}" if is_defense and without is not None else ""
    return f"{percents(accuracy)}, n = {accuracy.n}{beside}"
