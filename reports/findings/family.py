"""The first test over all combinations of a report together, so that many of them do not find something in nothing.

If no update said anything, then in every trial each of the batches that reconstructions are scored against might as well have
been the true one, for all attacks and metrics at once. So one choice of a batch for each trial gives every combination a mean,
and a rank among what other choices give it; the best rank of all combinations has a distribution that is known, however they
hang together. A combination tells something only if its own rank is among the best of that (minP, Westfall and Young, 1993,
section 2.6). Ranks make skewed metrics, such as shares that are all or nothing, comparable to others; of equal ranks the one
farther above its mean is the better.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..row import Score
from .intervals import finite
from .significance_tests import permutations_of

DRAWS = 9_999
LEAST_SPREAD = 1e-12  # relative to the largest value
TIE = 1e-9


@dataclass(frozen=True)
class Which:
    """A trial: what is one and the same for all attacks, defenses and metrics on it."""

    setting: str
    number: int
    others: int  # batches that are held against it, beside its own
    permuted: bool  # whether these are the truths of the trials after it, around to the one before it


Trial = tuple[Which, np.ndarray]
"""Which one it is, and its gains: with the true batch first, then with others in its place."""


@dataclass(frozen=True, eq=False)
class Family:
    """What chance alone gives the combination that looks best."""

    size: int  # combinations
    best: np.ndarray  # the strength of that one [DRAWS], sorted
    chosen: Mapping[Which, np.ndarray]  # which batch was taken for the true one, as a share of all of them [DRAWS]

    def chance_of(self, trials: Sequence[Trial]) -> float:
        """The probability that chance makes any combination of the family look as good as these trials do."""
        sums, own = _sums(trials, self.chosen)
        strength = _strength(1 + int((sums >= own - TIE).sum()), own)
        return (1 + len(self.best) - int(np.searchsorted(self.best, strength - TIE))) / (1 + len(self.best))

    def rank_needed(self, alpha: float) -> float:
        """The p value of a combination by itself that is about `alpha` among all of the family; no less than can be drawn."""
        place = math.ceil((1 - alpha) * (1 + len(self.best)))
        return min(alpha, max(1.0, math.ceil(-float(self.best[place]))) / (1 + len(self.best)))


def family_of(combinations: Iterable[Sequence[Trial]]) -> Family:
    """The family of these combinations of attack, defense and metric."""
    chosen: dict[Which, np.ndarray] = {}
    best, size, rng = np.full(DRAWS, -float(DRAWS)), 0, np.random.default_rng(0)
    for trials in combinations:
        for trial, _ in trials:
            if trial not in chosen:
                chosen[trial] = _dealt(trial) if trial.permuted else rng.random(DRAWS)
        sums, _ = _sums(trials, chosen)
        if not sums.any():
            continue
        size += 1
        ordered = np.sort(sums)
        np.maximum(best, _strength(DRAWS - np.searchsorted(ordered, sums - TIE), sums), out=best)
    return Family(size, np.sort(best), chosen)


def _dealt(trial: Which) -> np.ndarray:
    """The share that stands for the batch which each of the drawn orders of all trials gives to this one."""
    size = trial.others + 1
    orders = permutations_of(size)
    orders = orders[np.random.default_rng(0).integers(0, len(orders), DRAWS)]
    return ((orders[:, trial.number] - trial.number) % size + 0.5) / size


def trials_of(rows: Iterable[tuple[Which, Score]], perfect: bool = False) -> list[Trial]:
    """The trials that can be held against other batches: of what was recovered, or of all that the server can read. None
    where they should lend each other their truths, and do not know the same ones."""
    found = []
    for trial, score in rows:
        own, others = (score.perfect, score.perfect_swapped) if perfect else (score.value, score.swapped)
        if not finite(own) or not others:
            continue
        gains = np.asarray((own, *others), dtype=float) * (1 if score.better == "higher" else -1)
        known = gains[np.isfinite(gains)]
        if len(known) > 1 and (len(known) == len(gains) or not trial.permuted):
            found.append((trial, known))
    return found if _agree([trial for trial, _ in found]) else []


def _agree(trials: Sequence[Which]) -> bool:
    if not any(trial.permuted for trial in trials):
        return True
    return len({(trial.permuted, trial.others) for trial in trials}) == 1 and all(
        0 <= trial.number <= trial.others for trial in trials
    )


def _sums(trials: Sequence[Trial], chosen: Mapping[Which, np.ndarray]) -> tuple[np.ndarray, float]:
    """What the choices give [DRAWS], and what the true batches do, in standard deviations above what is expected; zeros
    where all batches give the same."""
    largest = max((float(np.abs(values).max()) for _, values in trials), default=0.0) or 1.0
    scaled = [(trial, values / largest - (values / largest).mean()) for trial, values in trials]  # extremes stay finite
    unit = math.sqrt(math.fsum(float(values.var()) for _, values in scaled))
    if unit <= LEAST_SPREAD:
        return np.zeros(DRAWS), 0.0
    sums = np.zeros(DRAWS)
    for trial, values in scaled:
        sums += values[(chosen[trial] * len(values)).astype(np.intp)]
    return sums / unit, float(sum(values[0] for _, values in scaled)) / unit


def _strength(rank: np.ndarray | int, deviations: np.ndarray | float) -> np.ndarray:
    """Greater for a better rank (1 is the best) and, among equals, for more deviations above the mean."""
    return np.asarray(deviations / (1 + np.abs(deviations)) - rank)
