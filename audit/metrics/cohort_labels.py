"""How many of the labels of all clients in a sum were recovered."""

import numpy as np
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric
from .label_accuracy import LabelAccuracy


@entry
class CohortLabels(Metric):
    """The share of the labels of all clients behind what the server reads, as `label_accuracy` counts them: what secure
    aggregation leaves to be read, where no single client's labels can be told from the others'. Only for sums of several."""

    better = "higher"
    compares = "labels"
    of = "cohort"
    share = True

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        return LabelAccuracy().score(truth, found)
