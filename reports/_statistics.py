"""Estimates over batches, with intervals that do not claim more than the data can carry.

One value stands for one trial: the images of a batch were attacked together, so they are dependent, and only batches
count towards n. Intervals are at 95 %:

- n = 1: none. One batch says nothing about the next one.
- n >= 2: Student t.
- n >= 10: the wider, on each side, of that and a BCa bootstrap (Efron, "Better Bootstrap Confidence Intervals", 1987),
  which follows skewed data, but alone covers only 90 % of normal samples of ten.
- shares of labels or of images: at least as wide as Clopper and Pearson (1934) over all of them, so that four perfect
  batches of four do not claim certainty.
- n equal values: none, as there is no spread to estimate one from (shares keep Clopper-Pearson).

No interval goes beyond what its metric can be: SSIM ends at 1.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy
from scipy import stats

from reports._row import Score

Guesser = Literal["floor", "decoy"]

LEVEL = 0.95
BOOTSTRAP_FROM = 10  # batches
LEAST_SPREAD = 1e-9  # relative to the largest value; below it, resampling sees rounding only
RESAMPLES = 1_999
RANGES = {
    "cohort_distance": (0.0, math.inf),
    "identifiability": (0.0, 1.0),
    "label_accuracy": (0.0, 1.0),
    "label_histogram": (0.0, 1.0),
    "lpips": (0.0, math.inf),
    "mean_image": (0.0, 1.0),
    "psnr": (0.0, math.inf),
    "ssim": (-1.0, 1.0),
}  # what the value of a metric can be
SHARES = frozenset({"label_accuracy", "identifiability"})  # metrics that are a number of examples, divided by all


@dataclass(frozen=True)
class Estimate:
    """A mean over n batches; `low` and `high` bound it at 95 %, or are both None where no interval can be had."""

    mean: float
    low: float | None
    high: float | None
    n: int
    method: str  # how the interval was made, or why there is none


def finite(value: float | None) -> bool:
    """Whether there is a number that may enter a mean."""
    return value is not None and math.isfinite(value)


def over_batches(values: Sequence[float]) -> Estimate:
    """The mean of one finite value a batch, with its interval.

    Raises: ValueError, without values or with one that is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"an estimate needs at least one value, all of them finite, found {list(values)}")
    scale = max(abs(value) for value in values) or 1.0  # keeps sums and squares of extreme values within range
    unit = [value / scale for value in values]
    n = len(unit)
    center = statistics.fmean(unit)
    if n == 1:
        return Estimate(values[0], None, None, n, "no interval: one batch")
    if min(unit) == max(unit):
        return Estimate(values[0], None, None, n, f"no interval: all {n} values are equal")
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * statistics.stdev(unit) / math.sqrt(n)
    student = Estimate(center, center - half, center + half, n, "Student t")
    if n < BOOTSTRAP_FROM or max(unit) - min(unit) < LEAST_SPREAD:
        return _scaled(student, scale)
    return _scaled(_widened(student, *_bootstrap(unit), "BCa bootstrap"), scale)


def value_of(scores: Sequence[Score]) -> Estimate | None:
    """The estimate of the attacker's score over those trials that have a finite one, None without any."""
    usable = [score for score in scores if finite(score.value)]
    if not usable:
        return None
    values = [_number(score.value) for score in usable]
    estimate, share = over_batches(values), _share(usable)
    if share is not None:
        estimate = _widened(estimate, *share, "Clopper-Pearson")
    return within(estimate, *_range(usable[0].metric, values))


def leak_of(scores: Sequence[Score], over: Guesser = "floor") -> Estimate | None:
    """The estimate of how much better than the floor, or the decoy alone, the attacker does, paired by trial, None without
    any pair.

    Positive means that the attacker beats the guesser, whichever direction is the better one for the metric.
    """
    measured = [score for score in scores if finite(score.value) and finite(getattr(score, over))]
    usable = [score for score in measured if finite(_leak(score, over))]
    if not usable:
        return None
    guesses = [_number(getattr(score, over)) for score in usable]
    estimate, share = over_batches([_leak(score, over) for score in usable]), _share(usable)
    if share is not None:
        floor = statistics.fmean(guesses)
        estimate = _widened(estimate, share[0] - floor, share[1] - floor, "Clopper-Pearson")
    low, high = _range(usable[0].metric, [_number(score.value) for score in usable] + guesses)
    return within(estimate, low - high, high - low)


def within(estimate: Estimate, lowest: float, highest: float) -> Estimate:
    """`estimate`, its interval within what is possible."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(lowest, estimate.low), high=min(highest, estimate.high))


def clopper_pearson(successes: int, total: int) -> tuple[float, float]:
    """The exact interval of a proportion."""
    interval = stats.binomtest(successes, total).proportion_ci(LEVEL, method="exact")
    return float(interval.low), float(interval.high)


def _number(value: float | None) -> float:
    if value is None:
        raise ValueError("a score without a number cannot enter an estimate")
    return value


def _leak(score: Score, over: Guesser) -> float:
    gain = _number(score.value) - _number(getattr(score, over))
    return gain if score.better == "higher" else -gain


def _share(scores: Sequence[Score]) -> tuple[float, float] | None:
    """Clopper-Pearson over all examples; None for other metrics, for one batch, and for shares outside [0, 1]."""
    values = [_number(score.value) for score in scores]
    total = sum(score.n for score in scores)
    proper = all(score.metric.partition("(")[0] in SHARES and score.n > 0 for score in scores)
    if not proper or len(scores) == 1 or not all(0 <= value <= 1 for value in values):
        return None
    hits = round(sum(value * score.n for value, score in zip(values, scores, strict=True)))
    return clopper_pearson(hits, total)


def _range(metric: str, values: Sequence[float]) -> tuple[float, float]:
    """What values of the metric can be; everything, for an unknown one or where some of `values` are not possible."""
    low, high = RANGES.get(metric.partition("(")[0], (-math.inf, math.inf))
    return (low, high) if all(low <= value <= high for value in values) else (-math.inf, math.inf)


def _bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The BCa interval of the mean; a fixed stream, so that equal rows give equal reports."""
    result = stats.bootstrap(
        (numpy.asarray(values),),
        numpy.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="BCa",
        rng=numpy.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _widened(estimate: Estimate, low: float, high: float, method: str) -> Estimate:
    """`estimate`, its interval at least as wide as [low, high] on each side."""
    if estimate.low is None or estimate.high is None:
        return Estimate(estimate.mean, min(low, estimate.mean), max(high, estimate.mean), estimate.n, method)
    widest = min(low, estimate.low), max(high, estimate.high)
    return Estimate(estimate.mean, *widest, estimate.n, f"{estimate.method}, widened by {method}")


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    low = None if estimate.low is None else estimate.low * scale
    high = None if estimate.high is None else estimate.high * scale
    return Estimate(estimate.mean * scale, low, high, estimate.n, estimate.method)
