"""Whether numbers of two runs differ by more than chance, for all of them together.

If two runs were alike, either sign of a batch's difference would be as likely, in all findings at once. So flipping the signs
of whole batches gives every finding the sums that chance would, and the best p value of all findings a distribution that is
known (minP, Westfall and Young, 1993).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DRAWS = 9_999
ENUMERATED = 12  # batches whose signs can all be gone through
TIE = 1e-9
Path = tuple[str, ...]


@dataclass(frozen=True)
class Chance:
    """Among all findings: the p value of one, and the least that its batches could have had."""

    p: float
    least: float


def chances(changes: Mapping[Path, Mapping[int, float]]) -> dict[Path, Chance]:
    """For each finding that changed; `changes` hold by trial how much more leaks in the second run, on a scale of its own."""
    signs: dict[tuple[str, int], np.ndarray] = {}
    own, least, best = {}, {}, np.ones(DRAWS)
    rng = np.random.default_rng(0)
    for path, by_trial in changes.items():
        sizes = np.asarray([*by_trial.values()])
        if not sizes.any():
            continue
        drawn = np.asarray([signs.setdefault((path[0], trial), rng.choice((-1.0, 1.0), DRAWS)) for trial in by_trial])
        sums = np.abs(sizes @ drawn)
        all_sums = np.sort(np.abs(_all_signs(len(sizes)) @ sizes) if len(sizes) <= ENUMERATED else sums)
        own[path] = _share_above(all_sums, abs(float(sizes.sum())))
        least[path] = _share_above(all_sums, float(np.abs(sizes).sum()))
        np.minimum(best, _share_above(all_sums, sums), out=best)
    ordered = np.sort(best)

    def among_all(share: np.ndarray) -> float:
        return float((1 + np.searchsorted(ordered, float(share) + TIE)) / (1 + DRAWS))

    return {path: Chance(among_all(own[path]), among_all(least[path])) for path in own}


def _share_above(ordered: np.ndarray, values: np.ndarray | float) -> np.ndarray:
    """Of the sorted sums that signs can give, the share as large as each value; never zero, since the one at hand is one."""
    return np.maximum(1, len(ordered) - np.searchsorted(ordered, np.asarray(values) - TIE)) / len(ordered)


def _all_signs(batches: int) -> np.ndarray:
    return np.asarray(list(itertools.product((-1.0, 1.0), repeat=batches)))
