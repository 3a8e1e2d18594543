"""The two exact tests over batches: a permutation test and a sign test."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

CHOICES = 9_999  # drawn where there are more than can be gone through
TIE = 1e-9


def swap_test(trials: Sequence[tuple[float, Sequence[float]]]) -> float:
    """The probability of so high a mean of the first numbers, if in each trial it might as well have been any of the second
    ones. Exact where all choices can be gone through, else over 9,999 drawn ones and the one at hand. 1 without second
    numbers."""
    usable = [np.asarray([own, *others]) for own, others in trials if len(others)]
    if not usable:
        return 1.0
    scale = max(float(np.abs(row).max()) for row in usable) or 1.0  # keeps sums of extreme values within range
    usable = [row / scale for row in usable]
    own = sum(float(row[0]) for row in usable)
    if math.prod(len(row) for row in usable) <= CHOICES + 1:
        sums = np.zeros(1)
        for row in usable:
            sums = np.add.outer(sums, row).ravel()
        return float((sums >= own - TIE).mean())
    rng = np.random.default_rng(0)
    drawn = np.sum([row[rng.integers(0, len(row), CHOICES)] for row in usable], axis=0)
    return float((1 + (drawn >= own - TIE).sum()) / (1 + CHOICES))


def sign_test(gains: Sequence[float]) -> float:
    """The probability of so many gains above zero among those that are not zero, if either sign were as likely."""
    above, below = sum(gain > TIE for gain in gains), sum(gain < -TIE for gain in gains)  # a NaN is neither
    return float(stats.binom.sf(above - 1, above + below, 0.5)) if above + below else 1.0
