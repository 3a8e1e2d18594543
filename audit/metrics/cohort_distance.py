"""Fréchet distance between two cohorts of images, as the Fréchet Inception distance takes it (Heusel, Ramsauer, Unterthiner,
Nessler, Hochreiter, NeurIPS 2017, arXiv:1706.08500, equation 6), on the features of the attacked model.

    |m - w|^2 + tr(C + S - 2 (C S)^1/2)

with means m, w and covariances C, S. Departs from the paper: the features are what the attacked model's classifier reads,
and the distance is divided by the mean squared length of the private batch's features, so that it has no unit. Over a few
images it is biased, as every such distance is, and so are its floors.
"""

import copy
import math
from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from seethrough.common.entry import entry

from ._base import Metric, MetricNotApplicableError
from ._features import features


@entry
class CohortDistance(Metric):
    """The Fréchet distance between the reconstructions and the private batch on the attacked model's own features, relative
    to the mean squared length of the batch's features. One value a batch; public images are a blind guess."""

    better = "lower"
    compares = "inputs"

    def limits(self) -> tuple[float, float]:
        return 0.0, math.inf

    def seen_by(self, model: nn.Module, public: Tensor) -> Callable[[Tensor, Tensor], np.ndarray]:
        watched = copy.deepcopy(model).eval()
        return lambda truth, found: self.score(features(watched, truth), features(watched, found))

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        private, guessed = (rows.detach().flatten(1).double().numpy() for rows in (truth, found))
        if not np.isfinite(guessed).all():
            return np.array([np.nan])
        length = np.square(private).sum(axis=1).mean()
        if not length > 0:
            raise MetricNotApplicableError("the features of the private batch have no length to be relative to")
        return np.array([frechet(private, guessed) / length])


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The squared Fréchet distance between Gaussians fitted to the rows of `first` [n, d] and `second` [m, d].

    With centered rows A and B, the trace of (C S)^1/2 is the sum of the singular values of A B' / sqrt(n m): the nonzero
    eigenvalues of C S are their squares, so no d x d matrix is made.
    """
    centered = [rows - rows.mean(axis=0) for rows in (first, second)]
    spread = sum(np.square(rows).sum() / len(rows) for rows in centered)
    cross = np.linalg.norm(centered[0] @ centered[1].T, ord="nuc") / np.sqrt(len(first) * len(second))
    shift = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return float(max(0.0, shift + spread - 2 * cross))
