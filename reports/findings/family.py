"""The first test over all combinations of a report together, so that many of them do not find something in nothing.

If no update said anything, then in every trial each of the batches that reconstructions are scored against might as well have
been the true one, for all attacks and metrics at once. So one choice of a batch for each trial gives every combination a mean,
and a rank among what other choices give it; the best rank of all combinations has a distribution that is known, however they
hang together. A combination tells something only if its own rank is among the best of that (minP, Westfall and Young, 1993,
section 2.6). Ranks make skewed metrics, such as shares that are all or nothing, comparable to others; of equal ranks the one
farther above its mean is the better.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
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
    strengths: Mapping[Hashable, float]  # of each combination, by its trials

    def chance_of(self, trials: Sequence[Trial]) -> float:
        """The probability that chance makes any combination of the family look as good as these trials of one do."""
        strength = self.strengths[_content(trials)]
        return (1 + len(self.best) - int(np.searchsorted(self.best, strength - TIE))) / (1 + len(self.best))

    def rank_needed(self, alpha: float) -> float:
        """The p value of a combination by itself that is about `alpha` among all of the family; no less than can be drawn."""
        place = math.ceil((1 - alpha) * (1 + len(self.best)))
        return min(alpha, max(1.0, math.ceil(-float(self.best[place]))) / (1 + len(self.best)))


def family_of(combinations: Iterable[Sequence[Trial]]) -> Family:
    """The family of these combinations of attack, defense and metric."""
    choices, strengths = _Choices(), {}
    best, size, ranks = np.full(DRAWS, -float(DRAWS)), 0, np.empty(DRAWS)
    for trials in combinations:
        choices.meet(trial for trial, _ in trials)
        sums, own = _sums(trials, choices)
        strengths[_content(trials)] = float(_strength(1 + int((sums >= own - TIE).sum()), own))
        if not sums.any():
            continue
        size += 1
        order = np.argsort(sums)
        ordered = sums[order]
        ranks[order] = DRAWS - np.searchsorted(
            ordered, ordered - TIE
        )  # in order, since to look for them out of it takes long
        np.maximum(best, _strength(ranks, sums), out=best)
    return Family(size, np.sort(best), strengths)


class _Choices:
    """Which batch is taken for the true one in each trial [DRAWS], the same for all combinations."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._shares: dict[Which, np.ndarray] = {}  # of all its batches
        self._places: dict[tuple[Which, int], np.ndarray] = {}  # among so many

    def meet(self, trials: Iterable[Which]) -> None:
        """Draw for the trials that are not known yet."""
        for trial in trials:
            if trial not in self._shares:
                self._shares[trial] = _dealt(trial) if trial.permuted else self._rng.random(DRAWS)

    def among(self, trial: Which, size: int) -> np.ndarray:
        """The places of the chosen batches among `size`: int [DRAWS]."""
        if (trial, size) not in self._places:
            self._places[trial, size] = (self._shares[trial] * size).astype(np.int32)
        return self._places[trial, size]


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


def _sums(trials: Sequence[Trial], choices: _Choices) -> tuple[np.ndarray, float]:
    """What the choices give [DRAWS], and what the true batches do, in standard deviations above what is expected; zeros
    where all batches give the same."""
    largest = max((float(np.abs(values).max()) for _, values in trials), default=0.0) or 1.0  # extremes stay finite
    above, variances = _about_their_means([values / largest for _, values in trials])
    unit = math.sqrt(math.fsum(variances))
    if unit <= LEAST_SPREAD:
        return np.zeros(DRAWS), 0.0
    sums = np.zeros(DRAWS)
    for (trial, _), values in zip(trials, above, strict=True):
        sums += values.take(choices.among(trial, len(values)), mode="clip")
    return sums / unit, float(sum(values[0] for values in above)) / unit


def _about_their_means(rows: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[float]]:
    """Each row less its mean, and its variance; those of one length at once, since numpy takes long to begin."""
    above, variances = list(rows), [0.0] * len(rows)
    for length in {len(row) for row in rows}:
        places = [place for place, row in enumerate(rows) if len(row) == length]
        block = np.stack([rows[place] for place in places])
        block -= block.mean(axis=1, keepdims=True)
        for place, row, variance in zip(places, block, block.var(axis=1).tolist(), strict=True):
            above[place], variances[place] = row, variance
    return above, variances


def _content(trials: Sequence[Trial]) -> Hashable:
    return tuple((trial, values.tobytes()) for trial, values in trials)


def _strength(rank: np.ndarray | int, deviations: np.ndarray | float) -> np.ndarray:
    """Greater for a better rank (1 is the best) and, among equals, for more deviations above the mean."""
    return np.asarray(deviations / (1 + np.abs(deviations)) - rank)
