"""Estimates over batches, with intervals that do not claim more than the data can carry.

One value stands for one trial: the images of a batch were attacked together, so they are dependent, and only batches
count towards n. Intervals are for the mean, at 95 %:

- Shares (of labels, of images, of a histogram) lie in [0, 1], so an interval can be had that supposes nothing else of
  how they are distributed: Gaffke's ("Three test statistics for a nonparametric one-sided hypothesis on the mean of a
  nonnegative variable", 2005; Learned-Miller and Thomas, arXiv:1905.06208), which is that of Clopper and Pearson over
  batches where each batch is all or nothing. That it covers 95 % is proven for such batches, and unrefuted for all
  others.
- Of all other values none can be had without a supposition: fewer than six batches give none, and the smallest and the
  largest value stand in its stead. From six on it is the wider, on each side, of Student's t, which supposes normal
  values, and the bootstrap-t (Efron, 1981), which follows skewed ones. A rare second mode that six batches miss is not
  covered.

`tests/test_reports_statistics.py` measures coverage on normal, skewed, two-peaked, capped and all-or-nothing values. No
interval goes beyond what its metric can be.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from scipy import special

from ..row import Score

LEVEL = 0.95
LEAST_BATCHES = 6  # below, no interval that supposes nothing of a measure's distribution excludes anything at 95 %
LEAST_SPREAD = 1e-9  # relative to the largest value; below it, resampling sees rounding only
RESAMPLES = 1_999
FLAT = 1e-6  # of the largest square; below it, a variance that is taken as a difference is rounding as well
DRAWS = 20_000  # of the spacings behind a share's interval
UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Estimate:
    """A mean over n batches; `low` and `high` bound it at 95 %, or are both None where no interval can be had."""

    mean: float
    low: float | None
    high: float | None
    n: int
    method: str  # how the interval was made, or why there is none
    median: float
    least: float  # the smallest and the largest of the n values
    most: float


def finite(value: float | None) -> bool:
    """Whether there is a number that may enter a mean."""
    return value is not None and math.isfinite(value)


def mean_of(values: Sequence[float]) -> float:
    """The mean of finite values, of which there is one at least; within their range, however large they are."""
    least, most = min(values), max(values)
    scale = max(most, -least) or 1.0
    return min(most, max(least, statistics.fmean([value / scale for value in values]) * scale))


def over_batches(values: Sequence[float], rivals: int = 1) -> Estimate:
    """The mean of one finite value a batch, with its interval, whose upper end holds for all of so many `rivals` together.

    Raises: ValueError, without values or with one that is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"an estimate needs at least one value, all of them finite, found {list(values)}")
    n = len(values)
    if n < LEAST_BATCHES:
        return _without(
            values, "no interval: one batch" if n == 1 else f"no interval: fewer than {LEAST_BATCHES} batches"
        )
    if min(values) == max(values):
        return _without(values, f"no interval: all {n} values are equal")
    scale = max(abs(value) for value in values)  # keeps sums and squares of extreme values within range
    unit = np.asarray([value / scale for value in values])
    low, high = _student(unit, rivals)
    method = "Student t"
    if np.ptp(unit) >= LEAST_SPREAD:
        other = _bootstrap_t(unit, rivals)
        low, high, method = min(low, other[0]), max(high, other[1]), "the wider of Student t and bootstrap-t"
    return replace(_without(values, method), low=low * scale, high=high * scale)


def of_shares(values: Sequence[float], low: float = 0.0, high: float = 1.0, rivals: int = 1) -> Estimate:
    """The mean of one value a batch, all of them in [low, high], with Gaffke's interval; none for one batch. Its upper end
    holds for all of so many `rivals` together.

    Raises: ValueError, as `over_batches`, and for a value out of range.
    """
    if not values or not all(low <= value <= high for value in values):
        raise ValueError(f"shares must lie in [{low:g}, {high:g}], found {list(values)}")
    if len(values) == 1:
        return _without(values, "no interval: one batch")
    unit = [(value - low) / (high - low) for value in values]
    ends = (1 - _upper_limit(tuple(sorted(1 - value for value in unit))), _upper_limit(tuple(sorted(unit)), rivals))
    scaled = [low + end * (high - low) for end in ends]
    found = _without(values, "exact for shares (Gaffke)")
    return replace(found, low=min(scaled[0], found.mean), high=max(scaled[1], found.mean))


def value_of(scores: Sequence[Score]) -> Estimate | None:
    """The estimate of the attacker's score over those trials that have a finite one, None without any."""
    usable = [score for score in scores if finite(score.value)]
    if not usable:
        return None
    values = [number_of(score.value) for score in usable]
    first = usable[0]
    if first.share and all(first.low <= value <= first.high for value in values):
        return of_shares(values, first.low, first.high)
    return within(over_batches(values), *_range(first, values))


def leak_of(scores: Sequence[Score], guesses: Sequence[float | None], rivals: int = 1) -> Estimate | None:
    """The estimate of how much better than `guesses`, one for each of `scores`, the attacker does, paired by trial; None
    without any pair. Positive means that the attacker beats the guesser, whichever direction is the better one. Its upper end
    holds for all of so many `rivals` together."""
    pairs = [
        (score, guess) for score, guess in zip(scores, guesses, strict=True) if finite(score.value) and finite(guess)
    ]
    gains = [gain_of(score, number_of(score.value), number_of(guess)) for score, guess in pairs]
    usable = [(score, guess, gain) for (score, guess), gain in zip(pairs, gains, strict=True) if math.isfinite(gain)]
    if not usable:
        return None
    first, values = usable[0][0], [gain for *_, gain in usable]
    met = [number_of(score.value) for score, *_ in usable] + [number_of(guess) for _, guess, _ in usable]
    low, high = _range(first, met)
    widest = high - low
    if first.share and math.isfinite(widest):
        return of_shares(values, -widest, widest, rivals)
    return within(over_batches(values, rivals), -widest, widest)


def leak_over_best(scores: Sequence[Score], guessers: Sequence[Sequence[float | None]]) -> Estimate | None:
    """The estimate of how much better than the best of `guessers` the attacker does, None without any pair.

    Which of them is the best on average is not known but seen in these trials, and the leak is the least over them. So each
    lower end is one of the least, but an upper end only if it holds for all of them together (Bonferroni).
    """
    found = [leak for guesses in guessers if (leak := leak_of(scores, guesses, len(guessers))) is not None]
    least = min(found, key=lambda leak: leak.mean, default=None)
    if least is None or least.low is None or least.high is None or len(guessers) == 1:
        return least
    low = min(leak.low for leak in found if leak.low is not None)
    high = max(least.mean, min(leak.high for leak in found if leak.high is not None))
    return replace(least, low=low, high=high, method=f"{least.method}, over the best of {len(guessers)} guessers")


def gain_of(score: Score, value: float, other: float) -> float:
    """By how much an attacker who has `value` does better than one who has `other`."""
    return value - other if score.better == "higher" else other - value


def within(estimate: Estimate, lowest: float, highest: float) -> Estimate:
    """`estimate`, its interval within what is possible."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(lowest, estimate.low), high=min(highest, estimate.high))


def number_of(value: float | None) -> float:
    """`value`, which is there. Raises: ValueError, if it is not."""
    if value is None:
        raise ValueError("a score without a number cannot enter an estimate")
    return value


def _without(values: Sequence[float], method: str) -> Estimate:
    """The estimate without an interval."""
    ends = min(values), max(values)
    return Estimate(mean_of(values), None, None, len(values), method, statistics.median(values), *ends)


def _range(score: Score, values: Sequence[float]) -> tuple[float, float]:
    """What values of the metric can be; everything where some of `values` are not possible."""
    return (score.low, score.high) if all(score.low <= value <= score.high for value in values) else UNBOUNDED


def _beyond(rivals: int) -> float:
    """The probability at which an upper end may be passed."""
    return (1 - LEVEL) / 2 / rivals


def _student(values: np.ndarray, rivals: int) -> tuple[float, float]:
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    below, above = (float(special.stdtrit(len(values) - 1, 1 - _beyond(number))) for number in (1, rivals))
    return mean - below * error, mean + above * error


def _bootstrap_t(values: np.ndarray, rivals: int) -> tuple[float, float]:
    """The mean less quantiles of the resampled (mean - values' mean) / standard error; a fixed stream, so that equal rows
    give equal reports. Resamples without spread, which have no standard error, are left out."""
    n, mean = len(values), values.mean()
    drawn, shares = _resamples(n)
    centered = values - mean
    means, squares = (shares @ np.stack((centered, centered**2), axis=1)).T
    variances = squares - means**2
    flat = variances < FLAT * squares.max()
    variances[flat] = centered.take(drawn[flat]).var(axis=1)
    errors = np.sqrt(variances * n / (n - 1))
    spread = errors > LEAST_SPREAD * np.abs(values).max()
    quotients = means[spread] / errors[spread]
    least, most = np.quantile(quotients, [_beyond(rivals), 1 - _beyond(1)])
    error = values.std(ddof=1)
    return float(mean - most * error), float(mean - least * error)


@cache
def _resamples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of n values are drawn, and the share that each of them has in the mean: int and float [RESAMPLES, n]."""
    drawn = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    return drawn, np.stack([(drawn == place).mean(axis=1) for place in range(n)], axis=1)


@cache
def _upper_limit(values: tuple[float, ...], rivals: int = 1) -> float:
    """Gaffke's upper limit of the mean of a variable in [0, 1], from its sorted values.

    The quantile of 1 - sum_i u_i (z_i+1 - z_i) with z_n+1 = 1 over sorted uniform draws u_1 <= ... <= u_n.
    """
    if values[0] == 1:
        return 1.0
    if set(values) <= {0.0, 1.0}:  # exact where batches are all or nothing: Clopper and Pearson
        hits = values.count(1.0)
        return float(special.betainccinv(hits + 1, len(values) - hits, _beyond(rivals)))
    steps = np.diff(np.asarray((*values, 1.0)))
    return float(np.quantile(1 - _sorted_uniforms(len(values)) @ steps, 1 - _beyond(rivals)))


@lru_cache(maxsize=12)  # of some megabytes each
def _sorted_uniforms(n: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).random((DRAWS, n)), axis=1)
