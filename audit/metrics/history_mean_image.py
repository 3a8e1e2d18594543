"""What a server that remembers learns of what a client's images have in common."""

import numpy as np
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric
from .mean_image import MeanImage


@entry
class HistoryMeanImage(Metric):
    """The root mean square difference, as `mean_image` takes it, between the mean of all that an attack found in a client's
    updates, round by round, and the mean of all images that the client trained on. Only where each round had examples of its
    own (`holds` of more than a batch)."""

    better = "lower"
    compares = "inputs"
    of = "history"

    def limits(self) -> tuple[float, float]:
        return 0.0, 1.0

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        return MeanImage().score(truth, found)
