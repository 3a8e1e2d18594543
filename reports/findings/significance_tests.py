"""The two exact tests over batches: a permutation test and a sign test."""

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from scipy import special

ENUMERATED = 7  # trials whose orders can all be gone through
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
    drawn = np.zeros(CHOICES)
    for place, row in enumerate(usable):
        drawn += row.take(_choices(place, len(row)))
    return float((1 + (drawn >= own - TIE).sum()) / (1 + CHOICES))


@cache
def _choices(place: int, size: int) -> np.ndarray:
    """The drawn choices for the trial at that place, of so many batches; the same in every test."""
    return np.random.default_rng([place, size]).integers(0, size, CHOICES)


def permutation_test(rows: Mapping[int, np.ndarray], size: int) -> float:
    """The probability of so high a sum of the first numbers, if the truths of `size` trials were dealt out at random: row i
    holds what trial i gets with its own truth, then with those of the trials after it, around to the one before it. Exact for
    up to seven trials, else over 9,999 drawn ones and the one at hand."""
    scale = max((float(np.abs(row).max()) for row in rows.values()), default=0.0) or 1.0
    dealt = permutations_of(size)
    sums = sum((row[(dealt[:, place] - place) % size] / scale for place, row in rows.items()), np.zeros(len(dealt)))
    as_high = int((sums >= sum(float(row[0]) / scale for row in rows.values()) - TIE).sum())
    return as_high / len(dealt) if size <= ENUMERATED else (1 + as_high) / (1 + len(dealt))


def permutations_of(size: int, drawn: int = CHOICES) -> np.ndarray:
    """All orders of `size` trials, or so many drawn ones where there are more than can be gone through: int [orders, size]."""
    if size <= ENUMERATED:
        return np.asarray(list(itertools.permutations(range(size))))
    rng = np.random.default_rng(0)
    return rng.permuted(np.tile(np.arange(size), (drawn, 1)), axis=1)


def sign_test(gains: Sequence[float]) -> float:
    """The probability of so many gains above zero among those that are not zero, if either sign were as likely."""
    above, below = sum(gain > TIE for gain in gains), sum(gain < -TIE for gain in gains)  # a NaN is neither
    return float(special.bdtrc(above - 1, above + below, 0.5)) if above + below else 1.0
