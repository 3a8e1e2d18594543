"""What a server that remembers learns of a client's classes over rounds."""

import numpy as np
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric
from .label_histogram import LabelHistogram


@entry
class HistoryHistogram(Metric):
    """The total variation distance, as `label_histogram` takes it, between the classes' shares in all that an attack found in
    a client's updates, round by round, and in all batches that the client trained on. Only where each round had examples of
    its own (`holds` of more than a batch)."""

    better = "lower"
    compares = "labels"
    of = "history"
    share = True

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        return LabelHistogram().score(truth, found)
