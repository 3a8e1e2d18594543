"""How many batches would exclude a leak that these do not, by the spread of those at hand."""

import math
import statistics
from collections.abc import Sequence

from scipy import special

from ..row import Score
from .evidence import POWER, guessers_of, guesses_by
from .intervals import Estimate, finite, gain_of, leak_of, number_of

TIMES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # how often the batches at hand are repeated
MOST_REPEATED = 100  # batches, up to which intervals are made; from there on they shrink as 1 / sqrt(n)
FEWEST = 12  # batches whose spread says anything: from six the estimate is off by a factor of ten as often as not
FARTHEST = 10  # times as many as there are, beyond which nothing is said
Margins = Sequence[tuple[str, float]]


def margin_for(margins: Margins, metric: str) -> float | None:
    """The leak that must be excluded by that metric, named with its parameters or without; None where none is stated."""
    stated = dict(margins)
    return stated.get(metric, stated.get(metric.partition("(")[0]))


def batches_to_exclude(scores: Sequence[Score], leak: Estimate | None, margin: float | None) -> int | None:
    """About how many batches would exclude, in four of five such audits, that the attacker beats the best guesser by more than
    `margin`, in units of the metric, if their gains were those of `scores` over and over. None without a margin; where `leak`,
    their estimate, excludes it; where no number would, since these gain as much on average; where batches show no spread, or
    are fewer than `FEWEST`; and where it would take more than `FARTHEST` times as many."""
    if margin is None or leak is None or (leak.high is not None and leak.high <= margin):
        return None
    names = guessers_of(scores)
    found = [_against(scores, guesses_by(scores, name), margin, len(names)) for name in names]
    known = min((batches for batches in found if batches is not None), default=None)
    return None if known is None or known > FARTHEST * len(scores) else known


def _against(scores: Sequence[Score], guesses: Sequence[float | None], margin: float, rivals: int) -> int | None:
    """The same for one of so many `rivals`: with so many batches the interval of the mean gain ends below the margin, with
    room for a mean that comes out higher, as that of one audit in five does."""
    pairs = [(one, guess) for one, guess in zip(scores, guesses, strict=True) if finite(one.value) and finite(guess)]
    gains = [gain_of(one, number_of(one.value), number_of(guess)) for one, guess in pairs]
    if len(gains) < FEWEST or not all(map(math.isfinite, gains)) or not statistics.fmean(gains) < margin:
        return None
    room, spread, batches = margin - statistics.fmean(gains), statistics.stdev(gains), 0
    for times in TIMES:
        size = times * len(pairs)
        if times > 1 and size > MOST_REPEATED:
            break
        leak = leak_of([one for one, _ in pairs] * times, [guess for _, guess in pairs] * times, rivals)
        if leak is None or leak.high is None:
            continue
        reach = leak.high - leak.mean + float(special.ndtri(POWER)) * spread / math.sqrt(size)
        if reach <= room:
            return min(size, batches) if batches else size
        batches = math.ceil(size * (reach / room) ** 2)
    return batches or None
